/** Runs `serai token` alone, so that its exit status and both outputs can be seen from outside. */
import { tokenCommand } from "../../src/cli/token.ts";

await tokenCommand().parseAsync(process.argv);
