import { useId } from 'react'
import styles from './Controls.module.css'
import type { ChoiceField, NumberField } from './rules'

interface Common {
  value: string
  onChange: (value: string) => void
  /** What is wrong with the value, as a sentence. */
  mistake: string | undefined
}

/** What connects a control to its label and to its mistake. */
interface Link {
  id: string
  'aria-invalid'?: true
  'aria-describedby'?: string
}

/** What is wrong, if anything is. */
export function Mistake({ id, text }: { id?: string; text: string | undefined }) {
  if (text === undefined) return null
  return (
    <p id={id} role="alert" className={styles.mistake}>
      {text}
    </p>
  )
}

/** A control with its label and its mistake. */
function Labelled({ label, mistake, children }: { label: string; mistake: string | undefined; children: (link: Link) => React.ReactNode }) {
  const id = useId()
  return (
    <div className={styles.field}>
      <label htmlFor={id} className={styles.label}>
        {label}
      </label>
      {children(mistake === undefined ? { id } : { id, 'aria-invalid': true, 'aria-describedby': `${id}-mistake` })}
      <Mistake id={`${id}-mistake`} text={mistake} />
    </div>
  )
}

/** One of some words. */
export function Choice({ field, value, onChange, mistake }: Common & { field: ChoiceField }) {
  return (
    <Labelled label={field.label} mistake={mistake}>
      {(link) => (
        <select className={styles.control} value={value} onChange={(event) => onChange(event.target.value)} {...link}>
          {Object.entries(field.options).map(([option, said]) => (
            <option key={option} value={option}>
              {said}
            </option>
          ))}
        </select>
      )}
    </Labelled>
  )
}

/** A number. It is a text field: a wheel over it, or a comma, must not change the value. */
export function NumberInput({ field, value, onChange, mistake }: Common & { field: NumberField }) {
  return (
    <Labelled label={field.label} mistake={mistake}>
      {(link) => <input className={styles.control} inputMode={field.isPart ? 'decimal' : 'numeric'} autoComplete="off" value={value} onChange={(event) => onChange(event.target.value)} {...link} />}
    </Labelled>
  )
}

/** A line of text. */
export function TextInput({ label, value, onChange, mistake }: Common & { label: string }) {
  return (
    <Labelled label={label} mistake={mistake}>
      {(link) => <input className={styles.control} autoComplete="off" spellCheck={false} value={value} onChange={(event) => onChange(event.target.value)} {...link} />}
    </Labelled>
  )
}
