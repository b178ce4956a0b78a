//! Time zones by region, for countries that keep several times: city databases name a region more often than a zone.
//!
//! A region stands here only where all of it keeps one time, but for a village or two; those that a line runs through
//! (Florida, Texas, Ontario) stay without one. Regions go by their short English names, with or without accents. Data of the tz database, which is
//! in the public domain; asked after a database's own answer and after the country's.

/// Regions of a country, each with its zone, and the zone of all others; empty where that is not one.
type Regions = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// The zone of a region, by the country's code; empty where it is not known.
pub(super) fn zone(country: &str, region: &str) -> &'static str {
    let Some((_, regions, other)) = REGIONS.iter().find(|(code, ..)| *code == country) else { return "" };
    let region = plain(region);
    if region.is_empty() {
        return "";
    }
    // `Aysén del General …`: the name may go on.
    let is_named = |name: &str| region.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    let exact = regions.iter().find(|(name, _)| plain(name) == region);
    let named = exact.or_else(|| regions.iter().find(|(name, _)| !other.is_empty() && is_named(&plain(name))));
    named.map_or(other, |(_, zone)| zone)
}

/// Lower case, without accents.
fn plain(name: &str) -> String {
    let plain = |letter: char| match letter {
        'á' | 'à' | 'â' | 'ã' => 'a',
        'é' | 'ê' => 'e',
        'í' => 'i',
        'ó' | 'ô' | 'õ' => 'o',
        'ú' => 'u',
        'ç' => 'c',
        other => other,
    };
    name.trim().to_lowercase().chars().map(plain).collect()
}

#[rustfmt::skip]
const REGIONS: &[Regions] = &[
    ("AU", &[
        ("Australian Capital Territory", "Australia/Sydney"), ("Western Australia", "Australia/Perth"), ("Victoria", "Australia/Melbourne"),
        ("Queensland", "Australia/Brisbane"), ("South Australia", "Australia/Adelaide"),
        ("Northern Territory", "Australia/Darwin"), ("Tasmania", "Australia/Hobart"),
    ], ""),
    ("BR", &[
        ("Alagoas", "America/Maceio"), ("Amapá", "America/Belem"), ("Bahia", "America/Bahia"),
        ("Ceará", "America/Fortaleza"), ("Distrito Federal", "America/Sao_Paulo"),
        ("Federal District", "America/Sao_Paulo"), ("Espírito Santo", "America/Sao_Paulo"),
        ("Goiás", "America/Sao_Paulo"), ("Maranhão", "America/Fortaleza"), ("Mato Grosso", "America/Cuiaba"),
        ("Mato Grosso do Sul", "America/Campo_Grande"), ("Minas Gerais", "America/Sao_Paulo"),
        ("Paraíba", "America/Fortaleza"), ("Paraná", "America/Sao_Paulo"), ("Piauí", "America/Fortaleza"),
        ("Rio de Janeiro", "America/Sao_Paulo"), ("Rio Grande do Norte", "America/Fortaleza"),
        ("Rio Grande do Sul", "America/Sao_Paulo"), ("Rondônia", "America/Porto_Velho"),
        ("Roraima", "America/Boa_Vista"), ("Santa Catarina", "America/Sao_Paulo"), ("Sergipe", "America/Maceio"),
        ("São Paulo", "America/Sao_Paulo"), ("Tocantins", "America/Araguaina"), ("Acre", "America/Rio_Branco"),
    ], ""),
    ("CA", &[
        ("Alberta", "America/Edmonton"), ("Manitoba", "America/Winnipeg"), ("New Brunswick", "America/Moncton"),
        ("Nova Scotia", "America/Halifax"), ("Prince Edward Island", "America/Halifax"),
        ("Yukon", "America/Whitehorse"), ("Northwest Territories", "America/Edmonton"),
    ], ""),
    ("CL", &[
        ("Aysén", ""), ("Magallanes", "America/Punta_Arenas"), ("Valparaíso", ""),
    ], "America/Santiago"),
    ("CN", &[
        ("Xinjiang", ""),
    ], "Asia/Shanghai"),
    ("EC", &[
        ("Galápagos", "Pacific/Galapagos"),
    ], "America/Guayaquil"),
    ("ES", &[
        ("Canary Islands", "Atlantic/Canary"), ("Canarias", "Atlantic/Canary"), ("Ceuta", "Africa/Ceuta"),
        ("Melilla", "Africa/Ceuta"),
    ], "Europe/Madrid"),
    ("NZ", &[
        ("Chatham Islands", "Pacific/Chatham"),
    ], "Pacific/Auckland"),
    ("PT", &[
        ("Azores", "Atlantic/Azores"), ("Açores", "Atlantic/Azores"), ("Madeira", "Atlantic/Madeira"),
    ], "Europe/Lisbon"),
    ("UA", &[
        ("Crimea", ""), ("Sevastopol", ""), ("Donetsk", ""), ("Luhansk", ""), ("Kherson", ""), ("Zaporizhzhia", ""),
        ("Zaporizhia", ""),
    ], "Europe/Kyiv"),
    ("US", &[
        ("Connecticut", "America/New_York"), ("Delaware", "America/New_York"),
        ("District of Columbia", "America/New_York"), ("Washington, D.C.", "America/New_York"),
        ("Georgia", "America/New_York"), ("Maine", "America/New_York"), ("Maryland", "America/New_York"),
        ("Massachusetts", "America/New_York"), ("New Hampshire", "America/New_York"),
        ("New Jersey", "America/New_York"), ("New York", "America/New_York"), ("North Carolina", "America/New_York"),
        ("Ohio", "America/New_York"), ("Pennsylvania", "America/New_York"), ("Rhode Island", "America/New_York"),
        ("South Carolina", "America/New_York"), ("Vermont", "America/New_York"), ("Virginia", "America/New_York"),
        ("West Virginia", "America/New_York"), ("Alabama", "America/Chicago"), ("Arkansas", "America/Chicago"),
        ("Illinois", "America/Chicago"), ("Iowa", "America/Chicago"), ("Louisiana", "America/Chicago"),
        ("Minnesota", "America/Chicago"), ("Mississippi", "America/Chicago"), ("Missouri", "America/Chicago"),
        ("Oklahoma", "America/Chicago"), ("Wisconsin", "America/Chicago"), ("Colorado", "America/Denver"),
        ("Montana", "America/Denver"), ("New Mexico", "America/Denver"), ("Utah", "America/Denver"),
        ("Wyoming", "America/Denver"), ("California", "America/Los_Angeles"), ("Washington", "America/Los_Angeles"),
        ("Hawaii", "Pacific/Honolulu"), ("Nevada", "America/Los_Angeles"),
    ], ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_zones_where_they_keep_one_time() {
        let check = |country: &str, region: &str, expected: &str| {
            assert_eq!(zone(country, region), expected, "{country} {region}");
        };
        check("US", "California", "America/Los_Angeles");
        check("US", "new york", "America/New_York");
        check("US", "Texas", "");
        check("US", "Washington, D.C.", "America/New_York");
        check("US", "", "");
        check("BR", "Sao Paulo", "America/Sao_Paulo");
        check("BR", "Mato Grosso do Sul", "America/Campo_Grande");
        check("BR", "Amazonas", "");
        check("ES", "Canary Islands", "Atlantic/Canary");
        check("ES", "Catalonia", "Europe/Madrid");
        check("ES", "", "");
        check("CL", "Aysén del General Carlos Ibáñez del Campo", "");
        check("CL", "Santiago Metropolitan", "America/Santiago");
        check("SE", "Skåne", "");
    }
}
