import type { Decision } from './api'

/** A policy, as the API has it (apps/moderation/policy). A phase that is absent is off. */
export interface Rules {
  words?: WordRule[]
  links?: { most: number; action: Decision }
  repeated?: { by: 'anybody' | 'person'; most: number; withinSeconds: number; action: Decision }
  tooMany?: { most: number; withinSeconds: number; action: Decision }
  newcomers?: { comments: number; action: Decision }
  scorer?: { holdFrom: number; rejectFrom: number; timeoutMs: number }
}

export interface WordRule {
  text: string
  match: 'part' | 'whole'
  action: Decision
}

/** A field that is one of some words. */
export interface ChoiceField {
  kind: 'choice'
  name: string
  label: string
  /** The words, and what the form says for them. */
  options: Record<string, string>
}

/** A field that is a number. */
export interface NumberField {
  kind: 'number'
  name: string
  label: string
  least: number
  most: number
  /** Whether parts of 1 are allowed. */
  isPart?: boolean
}

export type PhaseField = ChoiceField | NumberField

export const actionField: ChoiceField = { kind: 'choice', name: 'action', label: 'Then', options: { approve: 'approve', reject: 'reject', hold: 'hold' } }
export const matchField: ChoiceField = { kind: 'choice', name: 'match', label: 'Found', options: { part: 'anywhere', whole: 'as a whole word' } }

const week = 7 * 24 * 60 * 60
const within: NumberField = { kind: 'number', name: 'withinSeconds', label: 'Within (seconds)', least: 1, most: week }

/** A phase other than the words: what it says something of, its fields, and what they are when it is switched on. */
export interface Phase {
  name: 'links' | 'repeated' | 'tooMany' | 'newcomers' | 'scorer'
  title: string
  fields: PhaseField[]
  first: Record<string, string>
}

/** The phases after the words, in the order in which they decide. */
export const phases: Phase[] = [
  {
    name: 'links',
    title: 'Many links',
    fields: [{ kind: 'number', name: 'most', label: 'More links than', least: 0, most: 100 }, actionField],
    first: { most: '2', action: 'hold' },
  },
  {
    name: 'repeated',
    title: 'The same text again',
    fields: [
      { kind: 'choice', name: 'by', label: 'Written before by', options: { anybody: 'anybody', person: 'the same person' } },
      { kind: 'number', name: 'most', label: 'More often than', least: 0, most: 20 },
      within,
      actionField,
    ],
    first: { by: 'anybody', most: '1', withinSeconds: '3600', action: 'hold' },
  },
  {
    name: 'tooMany',
    title: 'Many comments of one person',
    fields: [{ kind: 'number', name: 'most', label: 'More comments than', least: 1, most: 50 }, within, actionField],
    first: { most: '5', withinSeconds: '60', action: 'hold' },
  },
  {
    name: 'newcomers',
    title: 'The first comments of somebody new',
    fields: [{ kind: 'number', name: 'comments', label: 'Fewer approved comments than', least: 1, most: 10 }, actionField],
    first: { comments: '1', action: 'hold' },
  },
  {
    name: 'scorer',
    title: 'The score of an external service',
    fields: [
      { kind: 'number', name: 'holdFrom', label: 'Hold from a score of', least: 0, most: 1, isPart: true },
      { kind: 'number', name: 'rejectFrom', label: 'Reject from a score of', least: 0, most: 1, isPart: true },
      { kind: 'number', name: 'timeoutMs', label: 'Without an answer, hold after (ms)', least: 50, most: 1_500 },
    ],
    first: { holdFrom: '0.5', rejectFrom: '0.9', timeoutMs: '500' },
  },
]
