"""Language codes: maps codes of several standards to one code for each language."""

import difflib
import re

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import quoted

_TABLE = """
    aa aar Afar; ab abk Abkhazian; ae ave Avestan; af afr Afrikaans; ak aka Akan; am amh Amharic; an arg Aragonese;
    ar ara Arabic; as asm Assamese; av ava Avaric; ay aym Aymara; az aze Azerbaijani; ba bak Bashkir;
    be bel Belarusian; bg bul Bulgarian; bi bis Bislama; bm bam Bambara; bn ben Bengali; bo bod tib Tibetan;
    br bre Breton; bs bos Bosnian; ca cat Catalan; ce che Chechen; ch cha Chamorro; co cos Corsican; cr cre Cree;
    cs ces cze Czech; cu chu Church Slavic; cv chv Chuvash; cy cym wel Welsh; da dan Danish; de deu ger German;
    dv div Divehi; dz dzo Dzongkha; ee ewe Ewe; el ell gre Greek; en eng English; eo epo Esperanto; es spa Spanish;
    et est Estonian; eu eus baq Basque; fa fas per Persian; ff ful Fulah; fi fin Finnish; fj fij Fijian;
    fo fao Faroese; fr fra fre French; fy fry Western Frisian; ga gle Irish; gd gla Scottish Gaelic; gl glg Galician;
    gn grn Guarani; gu guj Gujarati; gv glv Manx; ha hau Hausa; he heb Hebrew; hi hin Hindi; ho hmo Hiri Motu;
    hr hrv Croatian; ht hat Haitian; hu hun Hungarian; hy hye arm Armenian; hz her Herero; ia ina Interlingua;
    id ind Indonesian; ie ile Interlingue; ig ibo Igbo; ii iii Sichuan Yi; ik ipk Inupiaq; io ido Ido;
    is isl ice Icelandic; it ita Italian; iu iku Inuktitut; ja jpn Japanese; jv jav Javanese; ka kat geo Georgian;
    kg kon Kongo; ki kik Kikuyu; kj kua Kuanyama; kk kaz Kazakh; kl kal Kalaallisut; km khm Khmer; kn kan Kannada;
    ko kor Korean; kr kau Kanuri; ks kas Kashmiri; ku kur Kurdish; kv kom Komi; kw cor Cornish; ky kir Kirghiz;
    la lat Latin; lb ltz Luxembourgish; lg lug Ganda; li lim Limburgan; ln lin Lingala; lo lao Lao;
    lt lit Lithuanian; lu lub Luba-Katanga; lv lav Latvian; mg mlg Malagasy; mh mah Marshallese; mi mri mao Maori;
    mk mkd mac Macedonian; ml mal Malayalam; mn mon Mongolian; mr mar Marathi; ms msa may Malay; mt mlt Maltese;
    my mya bur Burmese; na nau Nauru; nb nob Norwegian Bokmål; nd nde North Ndebele; ne nep Nepali; ng ndo Ndonga;
    nl nld dut Dutch; nn nno Norwegian Nynorsk; no nor Norwegian; nr nbl South Ndebele; nv nav Navajo;
    ny nya Chichewa; oc oci Occitan; oj oji Ojibwa; om orm Oromo; or ori Oriya; os oss Ossetian; pa pan Panjabi;
    pi pli Pali; pl pol Polish; ps pus Pushto; pt por Portuguese; qu que Quechua; rm roh Romansh; rn run Rundi;
    ro ron rum Romanian; ru rus Russian; rw kin Kinyarwanda; sa san Sanskrit; sc srd Sardinian; sd snd Sindhi;
    se sme Northern Sami; sg sag Sango; sh hbs Serbo-Croatian; si sin Sinhala; sk slk slo Slovak; sl slv Slovenian;
    sm smo Samoan; sn sna Shona; so som Somali; sq sqi alb Albanian; sr srp Serbian; ss ssw Swati;
    st sot Southern Sotho; su sun Sundanese; sv swe Swedish; sw swa Swahili; ta tam Tamil; te tel Telugu;
    tg tgk Tajik; th tha Thai; ti tir Tigrinya; tk tuk Turkmen; tl tgl Tagalog; tn tsn Tswana; to ton Tongan;
    tr tur Turkish; ts tso Tsonga; tt tat Tatar; tw twi Twi; ty tah Tahitian; ug uig Uighur; uk ukr Ukrainian;
    ur urd Urdu; uz uzb Uzbek; ve ven Venda; vi vie Vietnamese; vo vol Volapük; wa wln Walloon; wo wol Wolof;
    xh xho Xhosa; yi yid Yiddish; yo yor Yoruba; za zha Zhuang; zh zho chi Chinese; zu zul Zulu
"""
"""ISO 639-1 code, ISO 639-2/T (which ISO 639-3 shares), ISO 639-2/B where it differs, name of each language."""

_ALIASES = {
    # Members of a macrolanguage and former codes, as mteb, FLORES and MIRACL's tools write them.
    "ar": "arb arz ars ary apc ajp acm acq aeb afb apd ayl acw",
    "az": "azj", "et": "ekk", "fa": "pes prs", "ff": "fuv", "gn": "gug", "he": "iw", "id": "in", "jv": "jw",
    "kr": "knc", "ku": "kmr", "lv": "lvs", "mg": "plt", "mn": "khk", "ms": "zsm zlm", "ne": "npi",
    "no": "nb nob", "om": "gaz", "or": "ory", "ps": "pbt", "qu": "quy", "ro": "mo mol", "sq": "als",
    "sr": "sh hbs", "sw": "swh swc", "tl": "fil", "uz": "uzn", "yi": "ji ydd", "zh": "cmn yue wuu lzh gan hak hsn",
}  # fmt: skip
_COUNTRIES = {
    "cn": "zh", "cz": "cs", "dk": "da", "gb": "en", "gr": "el", "il": "he", "ir": "fa", "jp": "ja", "ua": "uk",
    "us": "en", "vn": "vi",
}  # fmt: skip
"""Country codes that are often given in place of a language code."""
_TAG = re.compile(r"([A-Za-z]{2,3})([-_][A-Za-z0-9]{1,8})*")


def _rows() -> dict[str, tuple[list[str], str]]:
    rows = {}
    for entry in _TABLE.replace("\n", " ").split(";"):
        words = entry.split()
        codes = [words[0], *(word for word in words[1:3] if len(word) == 3 and word.islower())]
        rows[words[0]] = (codes, " ".join(words[len(codes) :]))
    return rows


NAMES = {code: name for code, (_, name) in _rows().items()}
"""ISO 639-1 code -> English name."""
_CODES = {code: one for one, (codes, _) in _rows().items() for code in codes} | {
    code: one for one, codes in _ALIASES.items() for code in codes.split()
}


def canonical(lang: str) -> str:
    """Return the ISO 639-1 code of a language.

    Args:
        lang: a code of ISO 639-1, 639-2 (either kind) or 639-3, in any case. A script or region after it (``zh-Hans``,
            ``pt_BR``) is dropped: no text analysis depends on it.

    Returns:
        Two letters; a three-letter code of a language without an ISO 639-1 code is returned as it is.

    Raises:
        EvalkitError: it is not a language code; the message suggests the code that was probably meant.
    """
    tag = _TAG.fullmatch(lang)
    code = tag[1].lower() if tag else ""
    if code in _CODES:
        return _CODES[code]
    if len(code) == 3:
        return code
    raise EvalkitError(f"slice.lang={quoted(lang)} is not an ISO 639-1 code such as en, zh or sw{_meant(lang, code)}")


def has_two_letter_code(code: str) -> bool:
    """Return whether `code`, as `canonical` returns it, is an ISO 639-1 code."""
    return code in NAMES


def name_and_code(code: str) -> str:
    """Return the name and code of a language for a message, such as ``Dutch (nl)``."""
    return f"{NAMES[code]} ({code})" if code in NAMES else code


def _meant(lang: str, code: str) -> str:
    if code in _COUNTRIES:
        return f"; did you mean {name_and_code(_COUNTRIES[code])}?"
    of_name = {name.lower(): code for code, name in NAMES.items()}
    close = difflib.get_close_matches(lang.lower(), of_name, n=3, cutoff=0.7)
    return f"; did you mean {' or '.join(name_and_code(of_name[name]) for name in close)}?" if close else ""
