/**
 * A place in a task's log as callers keep it: opaque, of one log, and nobody's right to it (that is asked for as ever). What
 * it says of a file is looked up again, so a made-up one gets nothing that `offset` would not get. Pure.
 */
import { createHash } from "node:crypto";
import { GatewayError } from "../errors.ts";
import type { LogsOf } from "./log-files.ts";

export interface LogPlace {
  readonly index: number;
  /** "" for whatever file has the index: a log that had not begun. */
  readonly inode: string;
  readonly offset: number;
}

const version = "1";
const bindingLength = 16;
const maxTokenLength = 256;
const shape = /^1\.([\w-]{16})\.(-?\d{1,15})\.(\d{0,20})\.(\d{1,15})$/;

/** What ties a token to one log. */
export const bindingOf = (allocationId: string, { task, type }: LogsOf): string =>
  createHash("sha256")
    .update(JSON.stringify([allocationId, task, type]))
    .digest("base64url")
    .slice(0, bindingLength);

export const toToken = (binding: string, { index, inode, offset }: LogPlace): string =>
  Buffer.from([version, binding, index, inode, offset].join(".")).toString("base64url");

const refused = (reason: string): GatewayError =>
  new GatewayError("bad_request", {
    text: `resume: ${reason}; send what a Resume frame or the header X-Serai-Resume of this log gave, or true`,
  });

/** Throws `bad_request` for what is no token, or another log's. */
export const fromToken = (binding: string, token: string): LogPlace => {
  const text = token.length <= maxTokenLength ? Buffer.from(token, "base64url").toString() : "";
  const [, tied, index, inode = "", offset] = shape.exec(text) ?? [];
  if (tied === undefined) throw refused("this is no token of serai's");
  if (tied !== binding) throw refused("this token is of another log");
  return { index: Number(index), inode, offset: Number(offset) };
};
