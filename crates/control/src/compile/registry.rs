//! What one compilation leaves to the next: ids and tables.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use balance::Level;
use datapath::snapshot::Pool;
use model::{BackendId, Gateway, MAX_BACKENDS, MAX_VIRTUAL_SERVERS, VirtualServerId};

use super::{ids::Ids, table::PoolTable};

/// What a backend is known by: its pool's name and its address.
pub type BackendKey = (String, SocketAddr);

/// The ids of virtual servers and backends, and the pools' tables. A clone is cheap: tables are shared.
#[derive(Clone)]
pub struct Registry {
    virtual_servers: Ids<String>,
    backends: Ids<BackendKey>,
    tables: HashMap<String, PoolTable>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            virtual_servers: Ids::new(MAX_VIRTUAL_SERVERS),
            backends: Ids::new(MAX_BACKENDS),
            tables: HashMap::new(),
        }
    }
}

impl Registry {
    /// The id of a virtual server.
    #[must_use]
    pub fn virtual_server(&self, name: &str) -> Option<VirtualServerId> {
        self.virtual_servers.id(&name.to_owned()).map(|(id, _)| VirtualServerId(id))
    }

    /// The id of a pool's backend, and how often the id was another backend's before.
    #[must_use]
    pub fn backend(&self, pool: &str, address: SocketAddr) -> Option<(BackendId, u16)> {
        let (id, incarnation) = self.backends.id(&(pool.to_owned(), address))?;
        Some((BackendId(id), incarnation))
    }

    /// The same for each of a pool's backends, in their order.
    pub(crate) fn members(&self, pool: &model::Pool) -> Vec<Option<(BackendId, u16)>> {
        let mut key = (pool.name.clone(), SocketAddr::from(([0; 4], 0)));
        let member = |backend: &model::Backend| {
            key.1 = backend.address;
            self.backends.id(&key).map(|(id, incarnation)| (BackendId(id), incarnation))
        };
        pool.backends.iter().map(member).collect()
    }

    /// The id of a virtual server, and how often the id was another one's before.
    pub(crate) fn virtual_server_incarnation(&self, name: &str) -> Option<(VirtualServerId, u16)> {
        self.virtual_servers.id(&name.to_owned()).map(|(id, incarnation)| (VirtualServerId(id), incarnation))
    }

    /// One more than the greatest virtual server id.
    pub(super) fn virtual_server_ids(&self) -> usize {
        self.virtual_servers.end()
    }

    /// One more than the greatest backend id.
    pub(super) fn backend_ids(&self) -> usize {
        self.backends.end()
    }

    /// Gives ids to what `gateway` has, and takes those of what it has no longer.
    pub(super) fn renew(&mut self, gateway: &Gateway) {
        let names: Vec<_> = gateway.virtual_servers.iter().map(|server| server.name.clone()).collect();
        self.virtual_servers.renew(&names);
        let keys = gateway
            .pools
            .iter()
            .flat_map(|pool| pool.backends.iter().map(|backend| (pool.name.clone(), backend.address)));
        self.backends.renew(&keys.collect::<Vec<_>>());
    }

    /// The compiled form of `pool`, of which the backends take new flows at these levels, by position.
    ///
    /// The same whatever was compiled before.
    pub(super) fn pool(
        &mut self,
        pool: &model::Pool,
        members: &[Option<(BackendId, u16)>],
        levels: Vec<Level>,
        seed: [u8; 16],
    ) -> Arc<Pool> {
        let id = |member: &Option<(BackendId, u16)>| member.map_or(BackendId(u32::MAX), |(id, _)| id);
        let members = members.iter().map(id).collect();
        match self.tables.get_mut(&pool.name) {
            Some(table) if table.fits(pool, seed) => table.pool(members, levels),
            _ => {
                let mut table = PoolTable::build(pool, seed);
                let compiled = table.pool(members, levels);
                self.tables.insert(pool.name.clone(), table);
                compiled
            }
        }
    }

    /// Lets go of the tables of pools that `gateway` does not have.
    pub(super) fn forget_tables(&mut self, gateway: &Gateway) {
        let names: HashSet<&str> = gateway.pools.iter().map(|pool| pool.name.as_str()).collect();
        self.tables.retain(|name, _| names.contains(name.as_str()));
    }
}
