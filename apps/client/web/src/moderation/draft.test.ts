import { expect, test } from 'vitest'
import { afterSave, draftOf, hasPlace, isEdits, mistakesIn, newWord, rulesOf, withoutPlace, withPhase, type Draft } from './draft'
import { phases, type Rules } from './rules'

const all: Rules = {
  words: [
    { text: 'orange', match: 'part', action: 'reject' },
    { text: 'a phrase', match: 'whole', action: 'hold' },
  ],
  links: { most: 0, action: 'hold' },
  repeated: { by: 'person', most: 1, withinSeconds: 3_600, action: 'reject' },
  tooMany: { most: 5, withinSeconds: 60, action: 'hold' },
  newcomers: { comments: 1, action: 'hold' },
  scorer: { holdFrom: 0.5, rejectFrom: 0.9, timeoutMs: 500 },
}
const empty: Draft = { words: [], phases: {}, rest: {} }

test.each<[string, Rules]>([
  ['all phases', all],
  ['one phase', { links: { most: 3, action: 'approve' } }],
  ['nothing', {}],
])('a policy of %s can be edited, and stays the same', (_, rules) => {
  expect(rulesOf(draftOf(rules))).toEqual(rules)
  expect(mistakesIn(draftOf(rules)).size).toBe(0)
})

test('a phase that the page does not know stays', () => {
  const rules = { ...all, pictures: { most: 1 } }
  expect(rulesOf(draftOf(rules))).toEqual(rules)
})

test('what a phase is when it is switched on has no mistake', () => {
  const draft = { ...empty, phases: Object.fromEntries(phases.map(({ name, first }) => [name, first])) }
  expect(mistakesIn(draft).size).toBe(0)
})

test.each([
  ['', 'The word must not be empty.'],
  ['\u200b ', 'The word must not be empty.'],
  ['x'.repeat(101), 'The word has 101 characters; at most 100 are allowed.'],
  ['🎈'.repeat(100), undefined],
])('the mistake in the word %j', (text, mistake) => {
  expect(mistakesIn({ ...empty, words: [{ ...newWord, text: 'fine' }, { ...newWord, text }] }).get('words[1].text')).toBe(mistake)
})

test.each([
  ['links', 'most', '0', undefined],
  ['links', 'most', '101', 'A number from 0 to 100 is expected.'],
  ['links', 'most', '', 'A number from 0 to 100 is expected.'],
  ['links', 'most', '1.5', 'A number from 0 to 100 is expected.'],
  ['links', 'most', 'many', 'A number from 0 to 100 is expected.'],
  ['tooMany', 'withinSeconds', '604801', 'A number from 1 to 604,800 is expected.'],
  ['scorer', 'holdFrom', '0.25', undefined],
  ['scorer', 'holdFrom', '1.1', 'A number from 0 to 1 is expected.'],
])('the mistake in %s.%s %j', (phase, field, text, mistake) => {
  const draft = draftOf(all)
  const edited = { ...draft, phases: { ...draft.phases, [phase]: { ...draft.phases[phase], [field]: text } } }
  expect(mistakesIn(edited).get(`${phase}.${field}`)).toBe(mistake)
})

test('more than 1,000 words are a mistake', () => {
  const words = Array.from({ length: 1_001 }, () => ({ ...newWord, text: 'x' }))
  expect([...mistakesIn({ ...empty, words }).keys()]).toEqual(['words'])
})

test('a phase is switched on and off', () => {
  const on = withPhase(empty, 'links', { most: '2', action: 'hold' })
  expect(rulesOf(on)).toEqual({ links: { most: 2, action: 'hold' } })
  expect(withPhase(on, 'links', undefined)).toEqual(empty)
})

test.each([
  ['words[2].text', true],
  ['words', true],
  ['links.most', true],
  ['links', true],
  ['scorer', false],
  [undefined, false],
])('whether a mistake at %s has a place', (field, has) => {
  expect(hasPlace(draftOf({ links: { most: 2, action: 'hold' } }), field)).toBe(has)
})

test.each([
  ['Words[2].text must not be empty.', 'words[2].text', 'This must not be empty.'],
  ['A sentence.', 'words', 'A sentence.'],
])('%j at %s is %j', (detail, field, said) => {
  expect(withoutPlace(detail, field)).toBe(said)
})

test('what was edited while the policy was being saved is kept', () => {
  const sent = { draft: draftOf(all), etag: '"1"' }
  const since = { draft: withPhase(sent.draft, 'links', undefined), etag: '"1"' }
  expect(afterSave({ ...sent }, sent, '"2"')).toBeUndefined()
  expect(afterSave(undefined, sent, '"2"')).toBeUndefined()
  expect(afterSave(since, sent, '"2"')).toEqual({ draft: since.draft, etag: '"2"' })
})

test('stored edits have their form', () => {
  const edits = { draft: draftOf(all), etag: '"1"' }
  expect(isEdits(JSON.parse(JSON.stringify(edits)))).toBe(true)
  for (const other of [null, 'a', {}, { ...edits, etag: 1 }, { ...edits, draft: {} }, { ...edits, draft: { ...edits.draft, words: [{ text: 1 }] } }, { ...edits, draft: { ...edits.draft, phases: { links: 1 } } }]) {
    expect(isEdits(other)).toBe(false)
  }
})
