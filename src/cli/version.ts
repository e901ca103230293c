import { readFileSync } from "node:fs";

/** From the package's manifest, which lies two folders up in a checkout and in the built package alike. */
export const version: string = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
).version;
