//! What a flow is: the key by which its packets are known, the keyed hash of that key, the record, and the table in which
//! a worker keeps its own.
//!
//! What must stay true:
//!
//! - A look-up is exact. The hash only says where to look; the whole key decides.
//! - Where a key lies depends on a secret. Who knows the code and not the seed cannot make flows collide.
//! - A table never grows and nothing in it allocates: its size is its bound, and each operation has one.
//!
//! What it leaves to others: which packets open and end a flow (`datapath`), and on which worker it lives.
#![forbid(unsafe_code)]

mod bucket;
mod flow;
mod hash;
mod key;
mod numbers;
mod place;
mod record;
mod repair;
mod sets;
mod table;
mod wide;

pub use flow::{Flow, FlowState};
pub use hash::HashKey;
pub use key::FlowKey;
pub use numbers::Numbers;
pub use place::{Candidate, FlowIndex, Found, Place, Side, Way};
pub use record::{Hit, Hot, Identity, Tracked};
pub use repair::{Repair, TTL_STEP};
pub use table::{Absent, Fate, FlowTable, Refused};
pub use wide::Wide;
pub use wire::protocol::name as protocol_name;
