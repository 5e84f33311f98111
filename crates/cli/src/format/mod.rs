//! Output: templates, tables and short forms.

mod rows;
mod tabs;
mod template;

pub(crate) use rows::{Heads, Row, ellipsis, quoted, render, short_id};
pub(crate) use tabs::align_with;
pub(crate) use template::{Format, FormatError};
