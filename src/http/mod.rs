//! DOOR. JSON APIs and tracking URLs.

pub mod admin;
pub mod mailtura;
pub mod problem;
pub mod track;
pub mod zeptomail;
