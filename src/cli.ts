/** Where every command begins. The connector is a small process beside others on its machine, and loads nothing of theirs. */
await import(process.argv[2] === "connect" ? "./cli/connector.ts" : "./cli/program.ts");
