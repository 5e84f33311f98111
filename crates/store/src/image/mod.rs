//! Images: names, what they point to, and what they hold of other content.
