//! `tidegate schema`

use super::print;
use crate::failure::Failure;

/// Prints the JSON Schema of the configuration.
pub(crate) fn schema() -> Result<(), Failure> {
    print(&format!("{:#}\n", config::schema()))
}
