import { readFileSync } from "node:fs";
import { objects } from "./csv.js";

try {
  console.log(JSON.stringify(objects(readFileSync(0, "utf8"))));
} catch (err) {
  console.error(`csv-to-json: ${err.message}`);
  process.exitCode = 1;
}
