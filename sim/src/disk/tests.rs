mod bench;
mod errors;
mod model;
mod names;
mod writes;
