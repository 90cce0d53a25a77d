//! [`LabelCode`] by position: it leaves out what it does not know where people read it, which postcard would not notice.

use bundle::{Code, LabelCode, Side};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

type Parts = (String, Code, Code, Option<Code>, Option<Side>, Option<[u8; 3]>);

pub(crate) fn serialize<S: Serializer>(code: &Option<LabelCode>, to: S) -> Result<S::Ok, S::Error> {
    let parts = |it: &LabelCode| -> Parts {
        let it = it.clone();
        (it.label, it.code, it.category, it.site, it.side, it.colour)
    };
    code.as_ref().map(parts).serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<LabelCode>, D::Error> {
    let parts = Option::<Parts>::deserialize(from)?;
    Ok(parts.map(|(label, code, category, site, side, colour)| LabelCode {
        label,
        code,
        category,
        site,
        side,
        colour,
    }))
}
