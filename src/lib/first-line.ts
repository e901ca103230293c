/** The first line of what a parser says, without the colon that announces the lines it quotes below. */
export const firstLine = (message: string): string =>
  (message.split("\n", 1)[0] ?? "").replace(/:$/, "");
