//! temp
use crate::error::Error;
use dhow_spec::runtime::IdMapping;
pub(crate) fn map_ids(name: &'static str, _pid: i32, _m: &[IdMapping]) -> Result<(), Error> {
    Err(Error::Program { name, said: "temp".into() })
}
