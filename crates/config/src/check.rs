pub(crate) fn all(_: &crate::raw::File, _: &mut crate::mistake::Findings) {}
