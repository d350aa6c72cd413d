"""Python's own JSON encoder, put together once. json.JSONEncoder.encode() makes its parts anew for each value, and that writes to a dozen pages of
a fresh worker, each of which is copied for it."""

import json
import json.encoder


def prepared(ensure_ascii):
    """What json.JSONEncoder(ensure_ascii=..., allow_nan=False).encode is."""
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, allow_nan=False)
    if json.encoder.c_make_encoder is None:
        return encoder.encode
    string = json.encoder.encode_basestring_ascii if ensure_ascii else json.encoder.encode_basestring
    around = {}  # the containers that it is inside of
    parts = json.encoder.c_make_encoder(around, encoder.default, string, None, encoder.key_separator, encoder.item_separator, False, False, False)
    join = "".join

    def encode(value):
        try:
            return join(parts(value, 0))
        finally:
            around.clear()  # of a value that it couldn't tell

    return encode
