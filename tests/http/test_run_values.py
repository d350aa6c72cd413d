"""POST /v1/run: the JSON form of what main() returns."""

import json
import unittest

from service import RunCase, shared_start as setUpModule, shared_stop as tearDownModule  # noqa: F401

NUMPY = "import numpy as np"
PANDAS = "import numpy as np, pandas as pd"


class Values(RunCase):
    """How a value is checked."""

    def raw(self, expression, before=""):
        """The text of the result, as it stands in the answer."""
        body = json.dumps({"code": f"{before}\ndef main():\n    return {expression}"}).encode()
        status, _, answer = self.service.request("POST", "/v1/run", body)
        self.assertEqual(status, 200)
        parsed = json.loads(answer, parse_constant=lambda name: self.fail(f"{name} is no JSON"))
        self.assertEqual(parsed["status"], "ok", parsed["error"])
        text = answer.decode()
        begin = text.index(', "result": ') + len(', "result": ')
        return text[begin:text.index(', "stdout": ', begin)]

    def assert_text(self, expression, text, before=""):
        self.assertEqual(self.raw(expression, before), text)

    def assert_value(self, expression, value, before=""):
        # 1, 1.0 and True are not the same here.
        self.assertEqual(json.dumps(json.loads(self.raw(expression, before))), json.dumps(value))

    def assert_not_json(self, expression, message, before=""):
        answer = self.run_code(f"{before}\ndef main():\n    return {expression}")
        self.assertEqual((answer["status"], answer["result"], answer["limit"], answer["stderr"]), ("not_json", None, None, ""), str(answer["error"])[:500])
        self.assertEqual(answer["error"]["name"], "TypeError")
        self.assertEqual(answer["error"]["value"][:len(message)], message)


class PlainTest(Values):
    def test_json_values_are_themselves(self):
        self.assert_text("[None, True, False, 0, -1, 1.5, 'a', [], {}, {'a': {'b': [1]}}]", '[null, true, false, 0, -1, 1.5, "a", [], {}, {"a": {"b": [1]}}]')
        for text in ("null", "true", "0", '""', "[]", "{}"):
            with self.subTest(text=text):
                self.assert_text(f"json.loads('{text}')", text, "import json")

    def test_numbers_keep_their_digits(self):
        self.assert_text("[2**70, -2**63, 0.1, 1e-7, 1e100, -0.0, 1.0, 5e-324, 0.1 + 0.2]",
                         "[1180591620717411303424, -9223372036854775808, 0.1, 1e-07, 1e+100, -0.0, 1.0, 5e-324, 0.30000000000000004]")
        self.assert_text("10**1000", "1" + "0" * 1000)

    def test_numbers_keep_their_digits_beside_what_is_converted(self):
        self.assert_text("[2**70, 0.1, 1e100, {1, 2}.__class__ and float('nan')]", "[1180591620717411303424, 0.1, 1e+100, null]")

    def test_a_number_of_more_digits_than_python_writes_is_told(self):
        self.assert_not_json("[10**5000]", "$", "")

    def test_what_is_no_number_is_null(self):
        self.assert_text("[float('nan'), {'a': float('inf')}, (-float('inf'),)]", '[null, {"a": null}, [null]]')
        self.assert_text("float('nan')", "null")

    def test_tuples_and_kinds_of_dict_and_list(self):
        self.assert_text("(1, (2, ()), c.OrderedDict(b=1, a=2), c.Counter('aab'), P(1, 2))", '[1, [2, []], {"b": 1, "a": 2}, {"a": 2, "b": 1}, [1, 2]]',
                         "import collections as c\nP = c.namedtuple('P', 'x y')")

    def test_keys_that_are_not_text_become_text(self):
        self.assert_text("{1: 'a', 2.5: 'b', False: 'c', None: 'd'}", '{"1": "a", "2.5": "b", "false": "c", "null": "d"}')
        # The same where something beside them must be converted.
        self.assert_text("{1: float('nan'), 2.5: 'b', False: 'c', None: 'd'}", '{"1": null, "2.5": "b", "false": "c", "null": "d"}')

    def test_keys_that_are_dates_become_text(self):
        self.assert_text("{datetime.date(2024, 2, 29): 1}", '{"2024-02-29": 1}', "import datetime")

    def test_other_keys_are_told_by_their_path(self):
        self.assert_not_json("{'a': [{(1, 2): 3}]}", "$.a[0]: has a key of type tuple")

    def test_keys_keep_their_order(self):
        self.assert_text("{'z': float('nan'), 'a': 2, 'm': 3}", '{"z": null, "a": 2, "m": 3}')

    def test_non_ascii_text_comes_whole(self):
        text = "grün 東京 🐍 \u2028 \x7f \x00 \" \\ /"
        self.assert_value(f"{{{text!a}: {text!a}}}", {text: text})

    def test_a_lone_surrogate_comes_out_escaped(self):
        self.assert_text(r"['a\ud800b', {'\udfff': 'ä'}]", r'["a\ud800b", {"\udfff": "\u00e4"}]')
        self.assert_text(r"['\ud800', 2**70, 0.1, 10**1000]", r'["\ud800", 1180591620717411303424, 0.1, 1' + "0" * 1000 + "]")

    def test_dates_and_times_are_iso_8601(self):
        self.assert_value("[d.datetime(2024, 2, 29, 13, 5, 7), d.datetime(2024, 2, 29, 13, 5, 7, 120000, d.timezone.utc), d.date(2024, 2, 29), d.time(13, 5), d.timedelta(minutes=1.5)]",
                          ["2024-02-29T13:05:07", "2024-02-29T13:05:07.120000+00:00", "2024-02-29", "13:05:00", 90.0], "import datetime as d")

    def test_decimals_are_text(self):
        self.assert_text("[D('1.10'), D('1E+400'), D('NaN')]", '["1.10", "1E+400", "NaN"]', "from decimal import Decimal as D")

    def test_a_uuid_is_text(self):
        self.assert_text("uuid.UUID(int=1)", '"00000000-0000-0000-0000-000000000001"', "import uuid")

    def test_other_objects_are_told_by_their_path(self):
        for value, kind in (("b'x'", "bytes"), ("1j", "complex"), ("object()", "object"), ("main", "function"), ("{1}", "set"), ("range(3)", "range"), ("int", "type")):
            with self.subTest(value=value):
                self.assert_not_json(f"{{'x': [0, {value}]}}", f"$.x[1]: Object of type {kind} is not JSON serializable")
        self.assert_not_json("{1}", "$: Object of type set is not JSON serializable")

    def test_long_keys_in_a_path_are_cut(self):
        self.assert_not_json("{'k' * 1000: {1}}", "$." + "k" * 40 + "...: Object of type set")

    def test_what_holds_itself_is_told(self):
        self.assert_not_json("x", "$[0]: contains itself", "x = []\nx.append(x)")
        self.assert_not_json("x", "$.a[1].b: contains itself", "x = {}\nx['a'] = [0, {'b': x}]")

    def test_what_is_shared_is_no_circle(self):
        self.assert_text("[x, x, {'a': x, 'b': float('nan')}]", '[[1], [1], {"a": [1], "b": null}]', "x = [1]")

    DEEP = "def deep(n, x):\n    for _ in range(n):\n        x = [x]\n    return x"

    def test_nine_hundred_levels_come_whole(self):
        self.assert_text("deep(900, [])", "[" * 901 + "]" * 901, self.DEEP)

    def test_two_hundred_levels_of_what_is_converted_come_whole(self):
        self.assert_text("deep(200, float('nan'))", "[" * 200 + "null" + "]" * 200, self.DEEP)

    def test_what_is_nested_too_deeply_is_told(self):
        for levels in (990, 1500, 100_000):
            with self.subTest(levels=levels):
                answer = self.run_code(f"{self.DEEP}\ndef main():\n    return deep({levels}, float('nan'))")
                self.assertEqual((answer["status"], answer["result"]), ("not_json", None), answer["error"])
                self.assertIn("deep", answer["error"]["value"])

    def test_what_has_no_form_deep_within_is_told(self):
        self.assert_not_json("deep(100, {1})", "$" + "[0]" * 100 + ": Object of type set", self.DEEP)
        answer = self.run_code(f"{self.DEEP}\ndef main():\n    return deep(500, {{1}})")
        self.assertEqual(answer["status"], "not_json", answer["error"])

    def test_a_value_whose_code_fails_is_an_exception(self):
        answer = self.run_code("class D(dict):\n    def items(self):\n        raise KeyError('x')\ndef main():\n    return D(a=1)")
        self.assertEqual((answer["status"], answer["error"]["name"], answer["error"]["line"]), ("exception", "KeyError", 3))

    def test_a_json_module_that_the_script_broke_changes_nothing(self):
        self.assert_text("{'a': float('nan')}", '{"a": null}', "import json\njson.dumps = json.JSONEncoder.encode = json.encoder.JSONEncoder = json.loads = None")
        self.assert_text(r"'\ud800'", r'"\ud800"', "import json\njson.dumps = json.JSONEncoder.encode = json.encoder.JSONEncoder = json.loads = None")


class NumpyTest(Values):
    def test_scalars_are_what_they_stand_for(self):
        self.assert_text("[np.int64(7), np.uint8(255), np.uint64(2**64 - 1), np.float64(0.1), np.float32(0.5), np.float16(1.5), np.bool_(True), np.str_('ä')]",
                         '[7, 255, 18446744073709551615, 0.1, 0.5, 1.5, true, "ä"]', NUMPY)
        self.assert_text("np.int64(7)", "7", NUMPY)

    def test_what_is_no_number_is_null(self):
        self.assert_text("[np.nan, np.float32('inf'), np.float64('nan'), np.array([1.0, np.nan])]", "[null, null, null, [1.0, null]]", NUMPY)

    def test_arrays_are_nested_lists(self):
        self.assert_text("np.arange(6).reshape(2, 3)", "[[0, 1, 2], [3, 4, 5]]", NUMPY)
        self.assert_text("[np.array([]), np.array(5), np.zeros((2, 0)), np.array([True]), np.array(['a', 'ä'])]", '[[], 5, [[], []], [true], ["a", "ä"]]', NUMPY)
        self.assert_text("np.array([1, None, 'x', [2]], dtype=object)", '[1, null, "x", [2]]', NUMPY)

    def test_a_large_array_comes_whole(self):
        self.assert_value("np.arange(100_000)", list(range(100_000)), NUMPY)

    def test_keys_are_text(self):
        self.assert_text("{np.int64(1): np.int64(2), np.float64(2.5): 3, np.str_('a'): 4, np.bool_(False): 5}", '{"1": 2, "2.5": 3, "a": 4, "false": 5}', NUMPY)

    def test_dates_are_iso_8601(self):
        self.assert_value("[np.datetime64('2024-02-29'), np.datetime64('2024-02-29T13:05:07'), np.datetime64('NaT'), np.timedelta64(90, 's'), np.timedelta64('NaT')]",
                          ["2024-02-29", "2024-02-29T13:05:07", None, 90.0, None], NUMPY)
        self.assert_value("np.array(['2024-02-29', 'NaT'], dtype='datetime64[D]')", ["2024-02-29", None], NUMPY)
        self.assert_value("np.array([['2024-02-29', 'NaT']], dtype='datetime64[D]')", [["2024-02-29", None]], NUMPY)

    def test_a_date_in_an_array_without_dimensions(self):
        self.assert_value("np.array('2024-02-29', dtype='datetime64[D]')", "2024-02-29", NUMPY)

    def test_complex_numbers_are_told_by_their_path(self):
        self.assert_not_json("{'a': np.array([1, 1j])}", "$.a[0]: Object of type complex is not JSON serializable", NUMPY)
        self.assert_not_json("[np.complex64(1j)]", "$[0]: Object of type complex", NUMPY)


class PandasTest(Values):
    def test_a_series_is_a_list(self):
        self.assert_text("pd.Series([1, 2, 3])", "[1, 2, 3]", PANDAS)
        self.assert_text("[pd.Series([1.5, np.nan]), pd.Series(['a', None]), pd.Series([], dtype=float), pd.Index([1, 2])]", '[[1.5, null], ["a", null], [], [1, 2]]', PANDAS)

    def test_a_frame_is_its_records(self):
        self.assert_text("pd.DataFrame({'a': [1, 2], 'b': ['x', None], 'c': [0.5, np.nan]})", '[{"a": 1, "b": "x", "c": 0.5}, {"a": 2, "b": null, "c": null}]', PANDAS)
        self.assert_text("{'t': pd.DataFrame({1: [True]})}", '{"t": [{"1": true}]}', PANDAS)
        self.assert_text("pd.DataFrame({'a': []})", "[]", PANDAS)

    def test_a_frame_of_times_is_iso_8601(self):
        self.assert_value("pd.DataFrame({'t': pd.to_datetime(['2024-02-29 13:05:07', None])})", [{"t": "2024-02-29T13:05:07"}, {"t": None}], PANDAS)

    def test_a_frame_with_a_column_name_twice_is_told(self):
        self.assert_not_json("[pd.DataFrame([[1, 2]], columns=['a', 'a'])]", "$[0]: is a DataFrame with a column name twice", PANDAS)

    def test_a_frame_that_was_grouped(self):
        self.assert_value("pd.DataFrame({'k': ['a', 'b', 'a'], 'v': [1, 2, 3]}).groupby('k').sum().reset_index()", [{"k": "a", "v": 4}, {"k": "b", "v": 2}], PANDAS)

    def test_times_are_iso_8601(self):
        self.assert_value("[pd.Timestamp('2024-02-29 13:05:07'), pd.Timestamp('2024-02-29', tz='Europe/Paris'), pd.NaT, pd.Timedelta('90s'), pd.Series(pd.to_datetime(['2024-02-29', None]))]",
                          ["2024-02-29T13:05:07", "2024-02-29T00:00:00+01:00", None, 90.0, ["2024-02-29T00:00:00", None]], PANDAS)

    def test_keys_that_are_times_become_text(self):
        self.assert_value("{pd.Timestamp('2024-02-29'): 1}", {"2024-02-29T00:00:00": 1}, PANDAS)
        self.assert_value("pd.Series([1], index=pd.to_datetime(['2024-02-29'])).to_dict()", {"2024-02-29T00:00:00": 1}, PANDAS)

    def test_what_is_missing_is_null(self):
        self.assert_text("[pd.NA, pd.NaT, pd.Series([1, None], dtype='Int64'), pd.Series([True, None], dtype='boolean')]", "[null, null, [1, null], [true, null]]", PANDAS)

    def test_categories_periods_and_intervals(self):
        self.assert_value("[pd.Categorical(['a', None]), pd.Series(['a'], dtype='category'), pd.Period('2024-02'), pd.Interval(0, 1)]", [["a", None], ["a"], "2024-02", "(0, 1]"], PANDAS)

    def test_values_nested_in_one_another(self):
        self.assert_value("{'f': [pd.DataFrame({'s': [pd.Series([np.int64(1), np.nan])]})], 't': (pd.Timestamp('2024-02-29'), Decimal('1.5'))}",
                          {"f": [[{"s": [1.0, None]}]], "t": ["2024-02-29T00:00:00", "1.5"]}, PANDAS + "\nfrom decimal import Decimal")


if __name__ == "__main__":
    unittest.main()
