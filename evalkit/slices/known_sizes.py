"""How many queries the slices of conf/slice have that ``plan`` compares, and in which languages they are.

Sources: of the packaged collection its files; of the others the metadata of ir_datasets, judged queries only.
"""

from collections.abc import Mapping

QUERIES: Mapping[str, Mapping[str, int]] = {
    "dev": {"ar": 24, "de": 24, "en": 74, "es": 24, "hi": 24, "ja": 24, "ru": 24, "sw": 24, "zh": 22},
    "nano_beir_msmarco": {"": 50},
    "beir_fever": {"": 6666},
    "beir_fiqa": {"": 648},
    "beir_hotpotqa": {"": 7405},
    "beir_nfcorpus": {"": 323},
    "beir_nq": {"": 3452},
    "beir_quora": {"": 10000},
    "beir_scidocs": {"": 1000},
    "beir_scifact": {"": 300},
    "msmarco_dl19": {"": 43},
    "msmarco_dl20": {"": 54},
    "msmarco_dl21": {"": 53},
    "msmarco_dl22": {"": 76},
    "msmarco_dl23": {"": 82},
    "msmarco_dl_hard": {"": 50},
    "msmarco_dev_small": {"": 6980},
    "mmarco": dict.fromkeys(("ar", "de", "es", "fr", "hi", "id", "it", "ja", "pt", "ru", "vi", "zh"), 6980),
    "miracl": {
        "ar": 2896, "bn": 411, "de": 305, "en": 799, "es": 648, "fa": 632, "fi": 1271, "fr": 343, "hi": 350,
        "id": 960, "ja": 860, "ko": 213, "ru": 1252, "sw": 482, "te": 828, "th": 733, "yo": 119, "zh": 393,
    },
}  # fmt: skip
"""Choice of the group ``slice`` -> slice.lang, empty where the choice has one language -> queries."""
