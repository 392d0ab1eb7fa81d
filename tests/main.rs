//! The one integration-test program: two cores link once. A module for each subject.

mod layers;
mod source;
mod tables;
