/** Bodies, commands and messages that are refused, with the words that Nomad's own agents and servers have for them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeInput } from "../src/agent/exec/frames.ts";
import { decodeCommand, decodeHandshake, parseBody } from "../src/bodies.ts";

type Case = readonly [text: string, words: string];

const metadata: readonly Case[] = [
  ["", "EOF"],
  ['{"Meta":', "unexpected EOF"],
  ["1.", "unexpected EOF"],
  ['{"a":1.}', "invalid character '}' after decimal point in numeric literal"],
  ['{"a":1.5e+}', "invalid character '}' in exponent of numeric literal"],
  ['{"a":1e400e}', "invalid character 'e' after object key:value pair"],
  ['{"a":-}', "invalid character '}' in numeric literal"],
  ["\0", "invalid character '\\x00' looking for beginning of value"],
  ['{"a":"\x01"}', "invalid character '\\x01' in string literal"],
  ["\ufeff{}", "invalid character 'ï' looking for beginning of value"],
  ["й", "invalid character 'Ð' looking for beginning of value"],
  ["nulx", "invalid character 'x' in literal null (expecting 'l')"],
  ["[".repeat(20_000), "invalid character '[' exceeded max depth"],
  ["[]", "json: cannot unmarshal array into Go value of type structs.NodeMetaApplyRequest"],
  [
    '{"NodeID":1.5}',
    "json: cannot unmarshal number into Go struct field NodeMetaApplyRequest.NodeID of type string",
  ],
];

const pause: readonly Case[] = [
  [" ", "Not a valid task schedule state"],
  [
    "[]",
    "json: cannot unmarshal array into Go value of type struct { Task string; ScheduleState string }",
  ],
  ['{"Task":5}', "json: cannot unmarshal number into Go struct field .Task of type string"],
];

const search: readonly Case[] = [
  [
    '{"Context":{}}',
    "json: cannot unmarshal object into Go struct field SearchRequest.Context of type structs.Context",
  ],
];

const commands: readonly Case[] = [
  ["", "failed to marshal command into json: unexpected end of JSON input"],
  ['["a"]x', "failed to marshal command into json: invalid character 'x' after top-level value"],
];

const handshakes: readonly Case[] = [
  ["", "unexpected EOF"],
  ["[]", "json: cannot unmarshal array into Go value of type agent.wsHandshakeMessage"],
  [
    '{"version":"1"}',
    "json: cannot unmarshal string into Go struct field wsHandshakeMessage.version of type int",
  ],
  ["{}", "unexpected handshake value: 0"],
];

const inputs: readonly Case[] = [
  ["", "unexpected EOF"],
  [
    '{"tty_size":{"height":1.5}}',
    "json: cannot unmarshal number 1.5 into Go struct field ExecTaskStreamingRequest_TerminalSize.tty_size.height of type int32",
  ],
];

const kinds: readonly (readonly [
  what: string,
  cases: readonly Case[],
  read: (text: string) => unknown,
])[] = [
  ["metadata", metadata, (text) => parseBody("metadata", text)],
  ["pause", pause, (text) => parseBody("pause", text)],
  ["search", search, (text) => parseBody("search", text)],
  ["command", commands, decodeCommand],
  ["handshake", handshakes, decodeHandshake],
  ["input of an exec", inputs, decodeInput],
];
for (const [what, cases, read] of kinds)
  for (const [text, message] of cases)
    test(`${what} ${JSON.stringify(text.slice(0, 40))} is refused with ${message}`, () => {
      assert.throws(() => read(text), { message });
    });
