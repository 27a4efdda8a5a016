//! Precedence and errors of the settings.
