"""What main() may return, and how it comes out."""

import json
import unittest

from service import Case, script_body, shared_start as setUpModule, shared_stop as tearDownModule  # noqa: F401

CAP = 16 << 20
AROUND = len('{"s": ""}')


class ResultTest(Case):
    def raw(self, script):
        status, body = self.service.post(script_body(script))
        self.assertEqual(status, 200, body[:500])
        return body

    def assert_returns(self, expression, text, before=""):
        """main() returns the expression; the answer's bytes are exactly these."""
        body = self.raw(f"{before}\ndef main():\n    return {expression}")
        self.assertEqual(body.decode(), '{"result": ' + text + ', "stdout": ""}')

    def assert_not_serializable(self, expression, message, before=""):
        error = self.error(f"{before}\ndef main():\n    return {expression}")
        self.assertTrue(error.startswith("Return value is not JSON-serializable: " + message), error)

    def test_numbers_keep_their_digits(self):
        self.assert_returns("{'a': 2**70, 'b': 0.1, 'c': 1e-7, 'd': 1e100, 'e': -0.0, 'f': 1.0, 'g': 5e-324, 'h': 0.1 + 0.2, 'i': -2**63}",
                            '{"a": 1180591620717411303424, "b": 0.1, "c": 1e-07, "d": 1e+100, "e": -0.0, "f": 1.0, "g": 5e-324, '
                            '"h": 0.30000000000000004, "i": -9223372036854775808}')

    def test_a_number_of_a_thousand_digits_comes_whole(self):
        self.assert_returns("{'n': 10**1000}", '{"n": 1' + "0" * 1000 + "}")

    def test_constants_and_an_empty_result_come_out(self):
        self.assert_returns("{'a': None, 'b': True, 'c': False, 'd': [], 'e': {}, 'f': ''}",
                            '{"a": null, "b": true, "c": false, "d": [], "e": {}, "f": ""}')
        self.assert_returns("{}", "{}")

    def test_nan_and_infinity_are_refused(self):
        for value in ("nan", "inf", "-inf"):
            with self.subTest(value=value):
                self.assert_not_serializable(f"{{'x': float('{value}')}}", "Out of range float values are not JSON compliant")

    def test_infinity_as_a_key_is_refused(self):
        self.assert_not_serializable("{float('inf'): 1}", "Out of range float values are not JSON compliant")

    def test_non_ascii_text_comes_whole(self):
        text = "grün 東京 🐍 \u2028 \x7f \x00 \" \\ /"
        self.assertEqual(self.result(f"def main():\n    return {{{text!a}: {text!a}}}"), {text: text})

    def test_keys_keep_their_order(self):
        self.assert_returns("{'z': 1, 'a': 2, 'm': 3}", '{"z": 1, "a": 2, "m": 3}')

    def test_a_result_at_the_cap_comes_whole(self):
        body = self.raw(f"def main():\n    return {{'s': 'x' * {CAP - AROUND}}}")
        self.assertEqual(body, b'{"result": {"s": "' + b"x" * (CAP - AROUND) + b'"}, "stdout": ""}')

    def test_a_result_past_the_cap_says_so(self):
        error = self.error(f"def main():\n    return {{'s': 'x' * {CAP - AROUND + 1}}}")
        self.assertRegex(error, "(?i)large|limit|long|big")
        self.assertIn(str(CAP), error)

    def test_the_cap_counts_bytes_and_not_characters(self):
        error = self.error(f"def main():\n    return {{'s': 'ä' * {CAP // 2}}}")
        self.assertRegex(error, "(?i)large|limit|long|big")

    def test_nine_hundred_levels_come_whole(self):
        body = self.raw("def main():\n    x = []\n    for _ in range(899):\n        x = [x]\n    return {'x': x}")
        self.assertEqual(body, b'{"result": {"x": ' + b"[" * 900 + b"]" * 900 + b'}, "stdout": ""}')

    def test_endless_levels_are_refused(self):
        self.assert_not_serializable("x", "", before="x = {}\nfor _ in range(100_000):\n    x = {'x': x}")

    def test_a_result_that_holds_itself_is_refused(self):
        self.assert_not_serializable("x", "Circular reference detected", before="x = {}\nx['x'] = x")

    def test_an_async_main_is_awaited(self):
        self.assertEqual(self.result("import asyncio\nasync def main():\n    await asyncio.sleep(0.01)\n    return {'n': 1}"), {"n": 1})

    def test_an_async_main_that_fails_is_told(self):
        self.assertEqual(self.error("async def main():\n    raise LookupError('gone')"), "Script execution failed: LookupError: gone")

    def test_an_async_main_needs_a_dict_as_well(self):
        self.assertEqual(self.error("async def main():\n    return [1]"), "main() must return a JSON object (dict)")

    def test_kinds_of_dict_are_dicts(self):
        self.assert_returns("c.OrderedDict(b=1, a=2)", '{"b": 1, "a": 2}', before="import collections as c")
        self.assert_returns("c.defaultdict(int, {'a': 2})", '{"a": 2}', before="import collections as c")
        self.assert_returns("{'c': c.Counter('aab')}", '{"c": {"a": 2, "b": 1}}', before="import collections as c")
        self.assert_returns("Own(a=1)", '{"a": 1}', before="class Own(dict):\n    pass")

    def test_other_results_are_no_dicts(self):
        for value in ("[]", "'{}'", "None", "True", "(1,)", "type('D', (), {})()", "__import__('types').MappingProxyType({})"):
            with self.subTest(value=value):
                self.assertEqual(self.error(f"def main():\n    return {value}"), "main() must return a JSON object (dict)")

    def test_keys_that_json_can_say_become_strings(self):
        self.assert_returns("{1: 'a', 2.5: 'b', True: 'c', None: 'd'}", '{"1": "c", "2.5": "b", "null": "d"}')

    def test_a_tuple_as_a_key_is_refused(self):
        self.assert_not_serializable("{(1, 2): 3}", "keys must be str, int, float, bool or None, not tuple")

    def test_tuples_become_lists(self):
        self.assert_returns("{'t': (1, (2, 3), ())}", '{"t": [1, [2, 3], []]}')

    def test_numpy_values_are_refused(self):
        for value, kind in (("np.int64(1)", "int64"), ("np.arange(3)", "ndarray"), ("np.bool_(True)", "bool_"), ("np.float32(1)", "float32")):
            with self.subTest(value=value):
                error = self.error(f"import numpy as np\ndef main():\n    return {{'x': {value}}}")
                # numpy 2 calls its bool_ `bool`.
                self.assertRegex(error, rf"^Return value is not JSON-serializable: Object of type {kind.rstrip('_')}_? is not JSON serializable$")

    def test_pandas_values_are_refused(self):
        self.assert_not_serializable("{'x': pd.Series([1])}", "Object of type Series is not JSON serializable", before="import pandas as pd")

    def test_other_objects_are_refused(self):
        for value, kind in (("b'x'", "bytes"), ("1j", "complex"), ("object()", "object"), ("main", "function")):
            with self.subTest(value=value):
                self.assert_not_serializable(f"{{'x': {value}}}", f"Object of type {kind} is not JSON serializable")

    def test_a_lone_surrogate_comes_out_escaped(self):
        self.assert_returns(r"{'s': 'a\ud800b'}", r'{"s": "a\ud800b"}')

    def test_two_results_that_share_a_list_are_no_circle(self):
        self.assert_returns("{'a': x, 'b': x}", '{"a": [1], "b": [1]}', before="x = [1]")

    def test_a_json_module_that_the_script_broke_changes_nothing(self):
        self.assert_returns("{'a': 1}", '{"a": 1}', before="import json\njson.dumps = json.JSONEncoder.encode = json.encoder.JSONEncoder = None")


class SmallResultTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--result-max", "2000")

    def test_a_small_cap_holds_exactly(self):
        self.assertEqual(len(self.result(f"def main():\n    return {{'s': 'x' * {2000 - AROUND}}}")["s"]), 2000 - AROUND)
        error = self.error(f"def main():\n    return {{'s': 'x' * {2000 - AROUND + 1}}}")
        self.assertRegex(error, "(?i)large|limit|long|big")
        self.assertIn("2000", error)

    def test_long_errors_are_answered_as_well(self):
        error = self.error("def main():\n    raise ValueError('x' * 10_000_000)")
        self.assertTrue(error.startswith("Script execution failed: ValueError: xxx"))
        self.assertLess(len(error), 1 << 20)


if __name__ == "__main__":
    unittest.main()
