//! Mails as they come back, in our own words.
