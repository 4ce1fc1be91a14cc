//! Setting: one value for the whole installation (v1beta2/setting.go). It has no spec: the value stands at the top.
//! Names and defaults are in [`crate::settings`].

use crate::resource::{Column, custom_resource};
use crate::schema::record;

record! {
    /// What became of the value.
    pub struct SettingStatus {
        /// Whether the value is in effect.
        pub applied: bool = "applied".required(),
    }
}

custom_resource! {
    /// A setting.
    pub struct Setting: SettingStatus {
        /// The value, always as text.
        pub value: String = "value".required(),
    }
    "Setting" ("settings", "lhs") [
        Column::text("Value", ".value"),
        Column::new("Applied", "boolean", ".status.applied"),
        Column::AGE,
    ]
}
