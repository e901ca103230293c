/** Go's DetectContentType: its signatures and their edges. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { detectContentType, servedContentType } from "../../../src/agent/files/content-type.ts";

const text = "text/plain; charset=utf-8";
const html = "text/html; charset=utf-8";
const octets = "application/octet-stream";

// biome-ignore format: a table
const cases: readonly (readonly [bytes: string, type: string])[] = [
  ["", text],
  ["plain", text],
  ["caf\xc3\xa9 \xe2\x82\xac", text],
  ["\xff\xfe", text], // too short for its mark
  ["line\r\n\ttab\x0c\x1b[31m", text],
  ["with a zero \0", octets],
  ["\x0b", octets],
  ["\x1f", octets],
  ["\x07", octets],
  ["<html>", html],
  ["  \r\n\t\x0c<HtMl >", html],
  ["<!doctype html>", html],
  ["<!DOCTYPE HTML ", html],
  ["<html", text], // not closed
  ["<htmlx>", text],
  ["\x0b<html>", octets],
  ["<head>", html], ["<script>", html], ["<iframe ", html], ["<h1>", html], ["<div>", html], ["<font ", html],
  ["<table>", html], ["<a >", html], ["<style>", html], ["<title>", html], ["<b>", html], ["<body ", html],
  ["<br>", html], ["<p>", html], ["<!-- ", html],
  ["<svg xmlns=", text],
  ["<?xml version", "text/xml; charset=utf-8"],
  [" \n<?xml ?>", "text/xml; charset=utf-8"],
  ["<?XML", text],
  ["%PDF-1.7", "application/pdf"],
  ["%!PS-Adobe-3.0", "application/postscript"],
  ["\xfe\xff\0a", "text/plain; charset=utf-16be"],
  ["\xff\xfea\0", "text/plain; charset=utf-16le"],
  ["\xef\xbb\xbfa", text],
  ["\0\0\x01\0", "image/x-icon"],
  ["\0\0\x02\0", "image/x-icon"],
  ["BM....", "image/bmp"],
  ["GIF87a", "image/gif"], ["GIF89a...", "image/gif"], ["GIF88a", text],
  ["RIFF\x01\x02\x03\x04WEBPVP8 ", "image/webp"],
  ["\x89PNG\r\n\x1a\n", "image/png"],
  ["\xff\xd8\xff\xe0", "image/jpeg"],
  ["FORM\0\0\0\0AIFF", "audio/aiff"],
  ["ID3\x03", "audio/mpeg"],
  ["OggS\0", "application/ogg"],
  ["MThd\0\0\0\x06", "audio/midi"],
  ["RIFFabcdAVI ", "video/avi"],
  ["RIFFabcdWAVE", "audio/wave"],
  ["\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video/mp4"],
  ["\0\0\0\x18ftypisom\0\0\0\0isommp41", "video/mp4"],
  ["\0\0\0\x10ftypisommp42", octets], // only the version names it
  ["\0\0\0\x11ftypmp42\0\0\0\0.", octets], // not a multiple of four
  ["\0\0\x7f\x18ftypmp42\0\0\0\0mp42isom", octets], // longer than what is there
  ["\x1a\x45\xdf\xa3", "video/webm"],
  [`${"\0".repeat(34)}LP`, "application/vnd.ms-fontobject"],
  ["\0\x01\0\0", "font/ttf"],
  ["OTTO", "font/otf"], ["ttcf", "font/collection"], ["wOFF", "font/woff"], ["wOF2", "font/woff2"],
  ["\x1f\x8b\x08", "application/x-gzip"],
  ["PK\x03\x04", "application/zip"],
  ["Rar!\x1a\x07\0", "application/x-rar-compressed"],
  ["Rar!\x1a\x07\x01\0", "application/x-rar-compressed"],
  ["\0asm", "application/wasm"],
];

for (const [bytes, type] of cases)
  test(`${JSON.stringify(bytes.slice(0, 24))} is ${type}`, () => {
    assert.equal(detectContentType(Buffer.from(bytes, "latin1")), type);
  });

test("only the first 512 bytes are looked at", () => {
  assert.equal(detectContentType(Buffer.from(`${"a".repeat(512)}\0`)), text);
  assert.equal(detectContentType(Buffer.from(`${"a".repeat(511)}\0`)), octets);
  assert.equal(detectContentType(Buffer.from(`${" ".repeat(506)}<html>`)), html);
  assert.equal(detectContentType(Buffer.from(`${" ".repeat(507)}<html>`)), text);
});

test("what a browser would run is served as plain text", () => {
  assert.equal(servedContentType(Buffer.from("<html>")), "text/plain");
  assert.equal(servedContentType(Buffer.from("<?xml ?><svg/>")), "text/plain");
  assert.equal(servedContentType(Buffer.from("\x89PNG\r\n\x1a\n", "latin1")), "image/png");
});

test("any bytes get a type, and never HTML when served", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.constantFrom(...cases), (bytes, [prefix]) => {
      const file = Buffer.concat([Buffer.from(prefix, "latin1"), bytes]);
      assert.match(detectContentType(file), /^[a-z]+\/[a-z0-9.+-]+(; charset=utf-(8|16[bl]e))?$/);
      assert.doesNotMatch(servedContentType(file), /html|xml/);
    }),
  );
});
