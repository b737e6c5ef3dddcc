//! Lets a crate declare its settings. One entry per setting holds both the field that the crate
//! reads and all facts about the setting. The crates that use this one decide which settings exist;
//! the process decides where values come from.
//!
//! ```
//! use std::time::Duration;
//! use rustmq_settings::{Default, Settings, TakesEffect, settings};
//!
//! settings! {
//!     /// What an operator tells the tap.
//!     pub struct TapSettings {
//!         /// How many glasses stand under the tap.
//!         #[setting("tap.glasses" or "RUSTMQ_GLASSES", Count { unit: "glasses", min: 1, max: 8 }, default "2", on restart)]
//!         pub glasses: usize,
//!         /// How long the tap stays open.
//!         #[setting("tap.open_ms", Milliseconds { min: 0, max: 60_000 }, unset "until the glass is full", on reload)]
//!         pub open: Option<Duration>,
//!     }
//! }
//!
//! let [glasses, open] = TapSettings::SETTINGS else { panic!("two entries, two settings") };
//! assert_eq!(glasses.environment_names(), ["RUSTMQ_TAP_GLASSES", "RUSTMQ_GLASSES"]);
//! assert_eq!(glasses.documentation(), "How many glasses stand under the tap.");
//! assert_eq!(open.default, Default::WorkedOut("until the glass is full"));
//! assert_eq!(open.takes_effect, TakesEffect::OnReload);
//!
//! let given = |name: &str| (name == "tap.open_ms").then(|| open.accept("5s").expect("within its bounds"));
//! let tap = TapSettings::read(&given);
//! assert_eq!(tap, TapSettings { glasses: 2, open: Some(Duration::from_secs(5)) });
//! assert!(open.accept("2m").is_none(), "out of bounds");
//! ```

mod declaration;
mod form;
mod setting;
mod value;

pub use declaration::Settings;
#[doc(hidden)]
pub use declaration::read_next;
pub use form::Form;
pub use setting::{Accepted, Default, Setting, TakesEffect};
pub use value::SettingValue;
