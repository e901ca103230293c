/** Commands run in a task of Nomad directly and through serai: output, exit code and end are the same. */
import { setTimeout as sleep } from "node:timers/promises";
import { type ExecClient, execClient } from "../support/ws-client.ts";
import type { Difference } from "./compare.ts";
import type { Side, TokenName, World } from "./world.ts";

export interface ExecRow {
  readonly name: string;
  readonly command: readonly string[] | string;
  readonly allocation?: string;
  readonly task?: string;
  readonly tty?: boolean;
  readonly token?: TokenName;
  /** Sent when the words before it have come; the last one may be an end of input. */
  readonly typed?: readonly (readonly [after: string, frame: object])[];
}

const input = (text: string): object => ({ stdin: { data: Buffer.from(text).toString("base64") } });
const endOfInput = { stdin: { close: true } };
const shell = (script: string): readonly string[] => ["/bin/sh", "-c", script];

export const execRows: readonly ExecRow[] = [
  { name: "output, error output and exit code", command: shell("echo out; echo err >&2; exit 7"), typed: [["", endOfInput]] },
  { name: "input to its end", command: ["/bin/cat"], typed: [["", input("through\n")], ["through", endOfInput]] },
  { name: "a megabyte of output", command: shell("head -c 1048576 /dev/zero | tr '\\0' x"), typed: [["", endOfInput]] },
  { name: "a command that is not there", command: ["/bin/nope"], typed: [["", endOfInput]] },
  { name: "a terminal with a size", command: shell("read x; stty size; tty >/dev/null && echo yes; exit 3"), tty: true, typed: [["", { tty_size: { height: 33, width: 111 } }], ["", input("\r")]] },
  { name: "a terminal that is typed into", command: shell("stty -echo; echo ready; read word; echo got $word; exit 4"), tty: true, typed: [["ready", input("hello\r")]] },
  { name: "a signal kills it", command: shell("kill -9 $$"), typed: [["", endOfInput]] },
  { name: "six megabytes of input", command: shell("wc -c"), typed: [...Array.from({ length: 96 }, (): readonly [string, object] => ["", input("x".repeat(65_536))]), ["", endOfInput]] },
  { name: "names of members in other letters, and more of them", command: ["/bin/cat"], typed: [["", { STDIN: { Data: Buffer.from("odd\n").toString("base64"), x: [1] }, y: {} }], ["odd", { stdin: { CLOSE: true } }]] },
  { name: "words in another script, and empty ones", command: ["/bin/sh", "-c", 'echo "$# $2"', "sh", "", "дёж"], typed: [["", endOfInput]] },
  { name: "an end that its child outlives", command: shell("sleep 1 >/dev/null 2>&1 & echo gone"), typed: [["", endOfInput]] },
  { name: "a terminal's interrupt", command: shell("trap 'echo INT; exit 5' INT; echo ready; while :; do sleep 0.1; done"), tty: true, typed: [["ready", input("\u0003")]] },
  { name: "no token", command: shell("true"), token: "none" },
  { name: "a wrong token", command: shell("true"), token: "wrong" },
  { name: "a token without the right", command: shell("true"), token: "reader" },
  { name: "an unknown allocation", command: shell("true"), allocation: "{unknown}" },
  { name: "a bad id", command: shell("true"), allocation: "not-an-id" },
  { name: "one that has ended", command: shell("true"), allocation: "{done}", task: "print" },
  { name: "a task that is not there", command: shell("true"), task: "nope" },
  { name: "no command", command: [] },
  { name: "a command that is no list", command: "nonsense" },
]; // biome-ignore format: a table

/** Nomad may leave the connection open after its Close frame; the frame's code is known by then. */
const patienceMs = 5_000;

interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly exit: string;
  readonly close: string;
}

const speak = async (client: ExecClient, { typed = [] }: ExecRow): Promise<void> => {
  await client.opened;
  for (const [words, frame] of typed) {
    if (words !== "") await client.seen(words);
    client.send(frame);
    await sleep(20); // a terminal takes its size before its input
  }
};

const play = async (row: ExecRow, world: World, side: Side): Promise<Outcome> => {
  const words = world.words(side);
  const { allocation = "{alloc}", task = "talk", token = "operator", command, tty } = row;
  const client = execClient({
    url: world.url(side),
    allocation: allocation.replace(/\{(\w+)\}/, (_all, name: string) => words[name] ?? ""),
    task,
    command,
    ...(tty === undefined ? {} : { tty }),
    ...(token === "none" ? {} : { token: world.token(token) }),
  });
  const cut = setTimeout(() => client.socket.terminate(), patienceMs);
  await speak(client, row).catch(() => undefined); // refused: its close says so
  const { code, reason } = await client.closed;
  clearTimeout(cut);
  return {
    stdout: client.output("stdout").toString("latin1"),
    stderr: client.output("stderr").toString("latin1"),
    exit: String(client.exitCode()),
    close: `${code} ${reason}`,
  };
};

export const compareExec = async (row: ExecRow, world: World): Promise<readonly Difference[]> => {
  const nomad = await play(row, world, "nomad");
  const serai = await play(row, world, "serai");
  return (["stdout", "stderr", "exit", "close"] as const)
    .map((aspect) => ({ aspect, nomad: nomad[aspect], serai: serai[aspect] }))
    .filter((one) => one.nomad !== one.serai);
};
