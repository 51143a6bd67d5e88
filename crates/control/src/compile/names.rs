//! The names behind ids.

use std::{collections::HashMap, net::SocketAddr};

use model::{BackendId, Gateway, VirtualServerId};

use super::{BackendKey, Registry};

/// The names behind the ids of a snapshot, for people.
#[derive(Debug, Default)]
pub struct Names {
    virtual_servers: HashMap<VirtualServerId, String>,
    backends: HashMap<BackendId, BackendKey>,
}

impl Names {
    /// The names behind the ids that `gateway` has in `registry`.
    #[must_use]
    pub fn of(gateway: &Gateway, registry: &Registry) -> Self {
        let servers = gateway.virtual_servers.iter();
        let backends =
            gateway.pools.iter().flat_map(|pool| pool.backends.iter().map(move |b| (pool, b.address)));
        Self {
            virtual_servers: servers
                .filter_map(|server| Some((registry.virtual_server(&server.name)?, server.name.clone())))
                .collect(),
            backends: backends
                .filter_map(|(pool, address)| {
                    Some((registry.backend(&pool.name, address)?.0, (pool.name.clone(), address)))
                })
                .collect(),
        }
    }

    /// The name of a virtual server; `None` when it is no longer configured.
    #[must_use]
    pub fn virtual_server(&self, id: VirtualServerId) -> Option<&str> {
        self.virtual_servers.get(&id).map(String::as_str)
    }

    /// Pool and address of a backend; `None` when it is no longer configured.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<(&str, SocketAddr)> {
        self.backends.get(&id).map(|(pool, address)| (pool.as_str(), *address))
    }
}
