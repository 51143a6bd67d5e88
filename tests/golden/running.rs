//! All cases together, through the running gateway on `net_pcap`.
