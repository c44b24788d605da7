import { Button } from '@base-ui/react/button'
import { useRef } from 'react'
import { Choice, Mistake, TextInput } from './Controls'
import { newWord } from './draft'
import styles from './PolicyView.module.css'
import { actionField, matchField } from './rules'

interface Props {
  words: Record<string, string>[]
  onChange: (words: Record<string, string>[]) => void
  mistakes: ReadonlyMap<string, string>
}

/** The first phase: the words, of which the first one that a comment has decides. */
export function WordRules({ words, onChange, mistakes }: Props) {
  const section = useRef<HTMLFieldSetElement>(null)
  const focus = (selector: string) => requestAnimationFrame(() => section.current?.querySelector<HTMLElement>(selector)?.focus())
  const add = () => {
    onChange([...words, newWord])
    focus('[data-word]:last-of-type input')
  }
  const remove = (at: number) => {
    onChange(words.toSpliced(at, 1))
    // The focus must not get lost with the button.
    focus(words.length > 1 ? `[data-word="${Math.min(at, words.length - 2)}"] button` : '[data-add]')
  }
  return (
    <fieldset ref={section} className={styles.phase}>
      <legend>Words</legend>
      <p className={styles.quiet}>They are found as readers see them, in the text and in the name.</p>
      <ol aria-label="Words">
        {words.map((word, at) => (
          <li key={at} data-word={at} className={styles.word}>
            <TextInput label={`Word ${at + 1}`} value={word.text ?? ''} onChange={(text) => onChange(words.with(at, { ...word, text }))} mistake={mistakes.get(`words[${at}].text`)} />
            <Choice field={matchField} value={word.match ?? ''} onChange={(match) => onChange(words.with(at, { ...word, match }))} mistake={mistakes.get(`words[${at}].match`)} />
            <Choice field={actionField} value={word.action ?? ''} onChange={(action) => onChange(words.with(at, { ...word, action }))} mistake={mistakes.get(`words[${at}].action`)} />
            <Button className="button" onClick={() => remove(at)} aria-label={`Remove word ${at + 1}`}>
              Remove
            </Button>
          </li>
        ))}
      </ol>
      <Mistake text={mistakes.get('words')} />
      <Button className="button" data-add="" onClick={add}>
        Add a word
      </Button>
    </fieldset>
  )
}
