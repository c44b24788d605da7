import { expect, test } from 'vitest'
import { anchorOf, commentAt } from './anchor'

const id = '017f22e2-79b0-7cc3-98c4-dc0c0c07398f'

test('an anchor leads to its comment', () => {
  expect(commentAt(`#${anchorOf(id)}`)).toBe(id)
})

test.each(['', '#', '#content', `#${id}`, '#comment-', '#comment-x', `#comment-${'-'.repeat(36)}`, `#comment-${id}0`])('%j leads to no comment', (hash) => {
  expect(commentAt(hash)).toBeUndefined()
})
