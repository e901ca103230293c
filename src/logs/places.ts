/** Where a reader of a task's log goes on, and what is said of places that are gone. Pure. */
import { GatewayError } from "../errors.ts";
import type { LogsParameters } from "../parameters.ts";
import { goOnIn, type LogFile, type LogStart } from "./log-files.ts";
import type { LogPlace } from "./resume-token.ts";

export const logsDirectory = "alloc/logs";

/** What is said of bytes that a reader can get no more. */
export const lost = (
  { task, type }: LogsParameters,
  { index, offset }: Pick<LogPlace, "index" | "offset">,
  files: readonly LogFile[],
): GatewayError => {
  const oldest = files[0];
  const rest = oldest ? `the oldest file is ${oldest.name}` : "it has no files";
  return new GatewayError("gone", {
    text: `the log is lost from byte ${offset} of ${logsDirectory}/${task}.${type}.${index} on: it was rotated away or replaced, ${rest}; begin anew with resume=true`,
  });
};

/** For a plain reader with a token: he counts the bytes behind it, and those of new content would be taken for the old ones'. */
export const begunAnew = (file: string): GatewayError =>
  new GatewayError("gone", {
    text: `the log is lost: ${file} was truncated or deleted while it was read; begin anew with resume=true`,
  });

/** Throws `gone` for what is lost, `bad_request` for what never was. */
export const goOn = (
  files: readonly LogFile[],
  parameters: LogsParameters,
  place: LogPlace,
): LogStart => {
  const skip = Number(parameters.skip ?? 0n);
  const start = goOnIn(files, place, skip);
  if (start === "lost") throw lost(parameters, place, files);
  if (start === "beyond")
    throw new GatewayError("bad_request", {
      text: `skip: the log has no ${skip} bytes behind the token's place; count the bytes of the log that came behind it`,
    });
  return start;
};

/** Of a log that its task has not begun. */
export const beginning: LogPlace = { index: 0, inode: "", offset: 0 };

export const placeOf = ({ file, offset }: LogStart): LogPlace => ({
  index: file.index,
  inode: file.inode ?? "",
  offset,
});
