//! Who made a thing, and who changed it last, as those are told who look at it: the address of a person, or the id of a
//! key. Empty where nobody knows: the command line did it, or it was done before this was kept.

/// Who made a thing, and who changed it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authors {
    /// Who made it.
    pub created_by: String,
    /// Who changed it last; empty while nobody has.
    pub updated_by: String,
}

impl Authors {
    /// Of what was made just now.
    pub fn new(created_by: String) -> Self {
        Self { created_by, updated_by: String::new() }
    }
}
