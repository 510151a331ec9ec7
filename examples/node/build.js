// Puts the program into one file that runs without the sources.
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

const source = (name) => readFileSync(new URL(`src/${name}`, import.meta.url), "utf8");
const library = source("csv.js").replace(/^export /gm, "");
const main = source("main.js").replace(/^import .* from "\.\/csv\.js";\n/m, "");
const bundle = `#!/usr/bin/env node\n${main.replace(/^(import .*\n)+/, (imports) => `${imports}\n${library}`)}`;

mkdirSync("dist", { recursive: true });
writeFileSync("dist/csv-to-json.mjs", bundle);
chmodSync("dist/csv-to-json.mjs", 0o755);
console.log(`dist/csv-to-json.mjs: ${bundle.length} characters`);
