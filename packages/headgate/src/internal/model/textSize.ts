const ascii = /^\p{ASCII}*$/u

/** How many bytes a character takes in UTF-8. A surrogate without its other half is written as U+FFFD. */
export const bytesAt = (text: string, index: number): 1 | 2 | 3 | 4 => {
  const code = text.charCodeAt(index)
  if (code < 0x80) return 1
  if (code < 0x800) return 2
  return isPairAt(text, index) ? 4 : 3
}

/** Whether a character takes two places of the string. */
export const isPairAt = (text: string, index: number): boolean =>
  (text.charCodeAt(index) & 0xfc00) === 0xd800 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00

/** The length of a text in UTF-8, without making it. */
export const utf8Bytes = (text: string): number => {
  if (ascii.test(text)) return text.length
  let bytes = 0
  for (let index = 0; index < text.length; index++) {
    const size = bytesAt(text, index)
    bytes += size
    if (size === 4) index++
  }
  return bytes
}
