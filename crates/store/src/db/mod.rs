//! What the store knows, in SQLite: the only place with SQL.
