/**
 * What is used of node:http. Importing that as a module reads all that it exports, its WebSocket too, and so loads Node's own fetch:
 * 45 ms of every start. Asked for in this way it gives what is asked for.
 */
export const { createServer, STATUS_CODES } = process.getBuiltinModule("node:http");
