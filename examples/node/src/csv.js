// Reads CSV as RFC 4180 has it: fields may be quoted, quotes are doubled within
// quotes, and quoted fields may hold commas and line breaks.

/** Returns the rows of a text, each a list of its fields. */
export function parse(text) {
  const rows = [];
  let row = [];
  let field = "";
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') field += c;
      else if (text[i + 1] === '"') field += text[++i];
      else quoted = false;
    } else if (c === '"' && field === "") {
      quoted = true;
    } else if (c === ",") {
      row.push(field);
      field = "";
    } else if (c === "\n") {
      row.push(field.replace(/\r$/, ""));
      rows.push(row);
      row = [];
      field = "";
    } else {
      field += c;
    }
  }
  if (quoted) throw new SyntaxError(`row ${rows.length + 1}: a quote is not closed`);
  if (field !== "" || row.length > 0) rows.push([...row, field]);
  return rows;
}

/** Returns an object for each row below the header. */
export function objects(text) {
  const [header = [], ...rows] = parse(text);
  return rows.map((row, i) => {
    if (row.length !== header.length) {
      throw new SyntaxError(`row ${i + 2}: ${row.length} fields, but the header has ${header.length}`);
    }
    return Object.fromEntries(header.map((name, k) => [name, row[k]]));
  });
}
