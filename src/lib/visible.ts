const visible = /^[\t\x20-\x7e]*$/;

/** True for what any header may hold (RFC 9110 §5.5) and every reader reads alike: ASCII that shows, blanks, tabs. */
export const isVisible = (text: string): boolean => visible.test(text);
