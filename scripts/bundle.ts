/** The program and the packages it needs, as few ES modules that run beside nothing but what is external. */
import path from "node:path";
import { type OutputChunk, rolldown } from "rolldown";

/** Has a binary of its own for each platform: installed beside the package. */
export const installed = ["@lydell/node-pty"];
/** Binaries that ws takes where they happen to be; it has the same in JavaScript. */
const optional = ["bufferutil", "utf-8-validate"];

const isOf = (name: string) => (id: string) => id === name || id.startsWith(`${name}/`);
const isExternal = (id: string): boolean =>
  [...installed, ...optional].some((name) => isOf(name)(id));

/**
 * Everything but the entry lies as deep as src/cli does, so that what is found from a module's own place (the package's
 * manifest, the samples, the connector's helper program) is found as in a checkout.
 */
const chunks = "chunks";
const input = { cli: "src/cli.ts", [`${chunks}/program`]: "src/cli/program.ts" };

/** Writes it, and gives the files that went into it, as paths from the root. What the bundler merely warns of fails here. */
export const bundle = async (root: string, directory: string): Promise<readonly string[]> => {
  const build = await rolldown({
    cwd: root,
    input,
    platform: "node",
    external: isExternal,
    onLog: (_level, { message }) => {
      throw new Error(message);
    },
  });
  try {
    const { output } = await build.write({
      dir: directory,
      format: "esm",
      entryFileNames: "[name].js",
      chunkFileNames: `${chunks}/[name].js`,
      keepNames: true, // of classes: errors tell theirs
    });
    return output
      .filter((part): part is OutputChunk => part.type === "chunk")
      .flatMap(({ moduleIds }) => moduleIds)
      .map((id) => (path.isAbsolute(id) ? path.relative(root, id) : id));
  } finally {
    await build.close();
  }
};
