"""Sixty invented books: every kind of field, and values that a careless JSON library would change."""

WORDS = ["river", "stone", "garden", "winter", "letter", "ship", "mirror", "forest", "island", "candle"]
TAGS = ("novel", "poetry", "travel", "science")


def _book(n):
    first, second, third = (WORDS[(n * step + n // 10) % len(WORDS)] for step in (1, 3, 7))
    book = {
        "id": f"b{n:02}",
        "title": f"The {first} and the {second}",
        "body": f"A {third} tells of a {first}. " * (1 + n % 4)
        + f"Nobody in the {second} had asked, said Æ{n}.",
        "tag": TAGS[n % len(TAGS)],
        "pages": 80 + 7 * n % 300,
        "price": round(3.5 + n * 0.37, 2),
        "printed": f"19{40 + n:02}-0{1 + n % 9}-11",
        "in_print": n % 3 == 0,
        "place": {"lat": 40.0 + n / 10, "lon": -3.0 - n / 10},
        "author": {"name": f"{second.title()} {first.title()}", "born": 1900 + n},
        "reviews": [
            {"stars": 1 + (n + i) % 5, "text": f"more {WORDS[(n + i) % 10]} please"} for i in range(n % 3)
        ],
        "suggest": [f"{first} {second}", third],
        "isbn": 9_007_199_254_740_993 + n,
    }
    return book if n % 7 else {name: value for name, value in book.items() if name != "body"}


BOOKS = [_book(n) for n in range(60)]

MAPPING = {
    "settings": {"number_of_shards": 1, "number_of_replicas": 0},
    "mappings": {
        "properties": {
            "id": {"type": "keyword"},
            "title": {
                "type": "text",
                "term_vector": "with_positions_offsets",
                "fields": {"raw": {"type": "keyword"}},
            },
            "body": {"type": "text"},
            "tag": {"type": "keyword"},
            "pages": {"type": "integer", "store": True},
            "price": {"type": "double"},
            "printed": {"type": "date"},
            "in_print": {"type": "boolean"},
            "place": {"type": "geo_point"},
            "author": {"properties": {"name": {"type": "text"}, "born": {"type": "short"}}},
            "reviews": {
                "type": "nested",
                "properties": {"stars": {"type": "byte"}, "text": {"type": "text"}},
            },
            "suggest": {"type": "completion"},
            "isbn": {"type": "long"},
        }
    },
}
