//! WHAT WE REMEMBER. The only place with SQL.
