//! A model of HAProxy's `leastconn` (its file `src/lb_fwlc.c`, servers of one weight and no limit).
//!
//! Servers stand in a tree, ordered by (connections + 1) / weight, and by nothing when they have none; of equal ones those that
//! came first. The first is chosen. One whose number has changed is taken out and put behind its equals.

/// The tree.
pub(crate) struct Leastconn {
    /// Key, when it was put there, and which server.
    tree: Vec<(u64, u64, usize)>,
    puts: u64,
}

impl Leastconn {
    /// So many servers without connections.
    pub(crate) fn new(servers: usize) -> Self {
        Self { tree: (0..servers).map(|server| (0, server as u64, server)).collect(), puts: servers as u64 }
    }

    /// The server for a connection; it has one more afterwards.
    pub(crate) fn choose(&mut self, connections: &[u64]) -> usize {
        let server = self.tree[0].2;
        self.reposition(server, connections[server] + 1);
        server
    }

    /// Takes note of how many connections a server has now.
    pub(crate) fn reposition(&mut self, server: usize, connections: u64) {
        let key = if connections == 0 { 0 } else { connections + 1 };
        self.puts += 1;
        for entry in self.tree.iter_mut().filter(|entry| entry.2 == server && entry.0 != key) {
            *entry = (key, self.puts, server);
        }
        self.tree.sort_unstable();
    }
}
