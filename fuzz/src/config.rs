//! Configurations: whatever the text, an answer that can be shown.

use plimsoll::config::read::from_text;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let env = |name: &str| (name.len() % 2 == 0).then(|| name.to_owned());
    match from_text("fuzz.yaml", text, &env) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                assert!(!warning.to_string().is_empty());
            }
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
}
