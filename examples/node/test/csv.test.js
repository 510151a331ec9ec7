import assert from "node:assert/strict";
import { test } from "node:test";
import { objects, parse } from "../src/csv.js";

test("plain fields", () => {
  assert.deepEqual(parse("a,b\n1,\n"), [["a", "b"], ["1", ""]]);
  assert.deepEqual(parse("a,b\r\n1,2"), [["a", "b"], ["1", "2"]]);
  assert.deepEqual(parse(""), []);
});

test("quoted fields", () => {
  assert.deepEqual(parse('"a,b","say ""hi""","two\nlines"\n'), [["a,b", 'say "hi"', "two\nlines"]]);
  assert.throws(() => parse('a\n"b'), /row 2: a quote is not closed/);
});

test("objects take their keys from the header", () => {
  assert.deepEqual(objects("name,age\nAda,36\n"), [{ name: "Ada", age: "36" }]);
  assert.throws(() => objects("a,b\n1\n"), /row 2: 1 fields, but the header has 2/);
});
