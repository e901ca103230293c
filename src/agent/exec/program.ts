/**
 * Which file a command starts, found before anything is started: a terminal's fork reports no fault of its own, and the
 * C library would hand a text file to a shell. Faults read as Go's os/exec words them behind Nomad's driver.
 */
import { constants } from "node:fs";
import { access, open, stat } from "node:fs/promises";
import path from "node:path";
import { errnoOf, failed, type GatewayError } from "../../errors.ts";
import { strerror } from "../strerror.ts";

const startFailed = (words: string): GatewayError =>
  failed(`rpc error: code = Unknown desc = failed to start command: ${words}`);

/** The refusal for an errno at the start of `program`. */
export const startFault = (program: string, error: unknown): GatewayError => {
  const code = errnoOf(error) ?? "EINVAL";
  return startFailed(`fork/exec ${program}: ${strerror[code] ?? code}`);
};

const magicBytes = 4;
const elf = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);
const machO: ReadonlySet<number> = new Set([0xfeedface, 0xfeedfacf, 0xcafebabe, 0xcffaedfe]);

const isProgram = (magic: Buffer): boolean =>
  magic.subarray(0, 2).toString("latin1") === "#!" ||
  magic.equals(elf) ||
  (magic.length === magicBytes && machO.has(magic.readUInt32BE(0)));

/** Executable files that are neither a script nor native would be given to a shell. Unreadable ones are tried. */
const refuseText = async (program: string): Promise<void> => {
  const file = await open(program).catch(() => undefined);
  if (file === undefined) return;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(magicBytes), 0, magicBytes, 0);
    if (!isProgram(buffer.subarray(0, bytesRead)))
      throw startFault(program, Object.assign(new Error("no program"), { code: "ENOEXEC" }));
  } finally {
    await file.close();
  }
};

const isExecutable = async (file: string): Promise<boolean> => {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
};

const lookUp = async (name: string, searchPath: string): Promise<string> => {
  for (const folder of searchPath.split(":")) {
    const file = path.join(folder, name);
    if (path.isAbsolute(folder) && (await isExecutable(file))) return file;
  }
  throw startFailed(`exec: "${name}": executable file not found in $PATH`);
};

const checked = async (program: string, file: string): Promise<string> => {
  try {
    await access(file, constants.X_OK);
    if (!(await stat(file)).isFile())
      throw Object.assign(new Error("not a file"), { code: "EACCES" });
  } catch (error) {
    throw startFault(program, error);
  }
  await refuseText(file);
  return file;
};

const checkDirectory = async (directory: string): Promise<void> => {
  try {
    if (!(await stat(directory)).isDirectory())
      throw Object.assign(new Error("not a directory"), { code: "ENOTDIR" });
  } catch (error) {
    const code = errnoOf(error) ?? "";
    throw startFailed(`chdir ${directory}: ${strerror[code] ?? code}`);
  }
};

/** The absolute path of the program of `command`. */
export const findProgram = async (
  command: readonly string[],
  directory: string,
  searchPath: string,
): Promise<string> => {
  const [name = ""] = command;
  if (name === "") throw startFailed("exec: no command");
  if (command.some((word) => word.includes("\0")))
    throw startFailed(`fork/exec ${name.replaceAll("\0", "")}: invalid argument`);
  await checkDirectory(directory);
  if (name.includes("/")) return checked(name, path.resolve(directory, name));
  const file = await lookUp(name, searchPath);
  await refuseText(file);
  return file;
};
