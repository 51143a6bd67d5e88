/* SPDX-License-Identifier: Apache-2.0
 *
 * What the bindings are made from: the headers of DPDK that are used, constants whose macros bindgen cannot
 * evaluate, and functions that stand for inline functions and thread-local variables of DPDK.
 */
#ifndef TIDEGATE_SHIM_H
#define TIDEGATE_SHIM_H

/* First: its macros decide the layout of the structures below. */
#include <rte_config.h>

#include <stddef.h>
#include <stdint.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

static const uint64_t SHIM_MBUF_RX_L4_CHECKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t SHIM_MBUF_RX_L4_CHECKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t SHIM_MBUF_RX_L4_CHECKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;

static const uint64_t SHIM_MBUF_TX_CUT = RTE_MBUF_F_TX_TCP_SEG;

static const uint64_t SHIM_RX_OFFLOAD_CHECKSUM = RTE_ETH_RX_OFFLOAD_CHECKSUM;
static const uint64_t SHIM_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t SHIM_TX_OFFLOAD_CUT =
	RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
static const uint64_t SHIM_TX_OFFLOAD_MULTI_SEGMENT = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

static const uint64_t SHIM_RSS_TCP_UDP = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
static const uint64_t SHIM_RSS_TCP_V4 = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
static const uint64_t SHIM_RSS_UDP_V4 = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
static const uint64_t SHIM_RSS_TCP_V6 = RTE_ETH_RSS_NONFRAG_IPV6_TCP;
static const uint64_t SHIM_RSS_UDP_V6 = RTE_ETH_RSS_NONFRAG_IPV6_UDP;
static const uint64_t SHIM_RSS_SOURCE_ONLY = RTE_ETH_RSS_L3_SRC_ONLY | RTE_ETH_RSS_L4_SRC_ONLY;
static const uint64_t SHIM_RSS_DESTINATION_ONLY = RTE_ETH_RSS_L3_DST_ONLY | RTE_ETH_RSS_L4_DST_ONLY;
static const uint32_t SHIM_MAX_LCORES = RTE_MAX_LCORE;

/* rte_errno of the calling thread. */
int shim_errno(void);

/* rte_pktmbuf_alloc. */
struct rte_mbuf *shim_mbuf_allocate(struct rte_mempool *pool);

/* Has the card cut a frame into TCP segments with `share` bytes of data each; the other lengths are those of its headers. */
void shim_mbuf_cut(struct rte_mbuf *mbuf, int is_v4, uint16_t link, uint16_t network, uint16_t transport, uint16_t share);

/* Takes one line of DPDK's log: its level (1 emergency … 8 debug), its bytes, their number. */
typedef void (*shim_log_line)(uint32_t level, const char *text, size_t length);

/* Sends all that DPDK logs from now on to `line`. 0, or -1 with errno when there is no memory. */
int shim_log_to(shim_log_line line);

/* Until shim_output_release, what C libraries print to stderr (wrong options, libbpf's remarks) goes to the log, and what
 * they print to stdout (EAL's usage text) nowhere. Not nested, one thread at a time. */
void shim_output_capture(void);
void shim_output_release(void);

#endif
