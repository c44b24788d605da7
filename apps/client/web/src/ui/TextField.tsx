import { Field } from '@base-ui/react/field'
import { useEffect, useRef } from 'react'
import { charactersLeft, type FieldName } from '../write/limits'
import { count } from './count'
import styles from './TextField.module.css'

interface Props {
  name: FieldName
  label: string
  value: string
  onChange: (value: string) => void
  /** The mistake in the value, as a sentence. */
  mistake: string | undefined
  /** The number of lines at first. Without it the field has one line. */
  rows?: number
  autoComplete?: string
  /** Whether it gets the focus as soon as it is shown. */
  focus?: boolean
  onEscape?: () => void
}

/** A text field with its label, its mistake, and the number of characters left. */
export function TextField({ name, label, value, onChange, mistake, rows, autoComplete = 'off', focus = false, onEscape }: Props) {
  const control = useRef<HTMLInputElement>(null)
  useEffect(() => {
    if (focus) control.current?.focus()
  }, [focus])
  /** Ctrl+Enter sends the form, as Enter does in a field of one line. */
  const onKeyDown = (event: React.KeyboardEvent<HTMLInputElement>) => {
    if (event.nativeEvent.isComposing) return
    if (event.key === 'Escape') onEscape?.()
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return
    event.preventDefault()
    event.currentTarget.form?.requestSubmit()
  }
  const left = charactersLeft(name, value)
  return (
    <Field.Root name={name} invalid={mistake !== undefined} className={styles.field}>
      <Field.Label className={styles.label}>{label}</Field.Label>
      <Field.Control
        ref={control}
        className={rows ? `${styles.control} ${styles.lines}` : styles.control}
        value={value}
        onValueChange={onChange}
        autoComplete={autoComplete}
        dir="auto"
        onKeyDown={onKeyDown}
        render={rows ? <textarea rows={rows} /> : <input type="text" />}
      />
      {left !== undefined && left >= 0 && (
        <Field.Description className={styles.left}>{count(left, 'character')} left</Field.Description>
      )}
      {mistake !== undefined && (
        <Field.Error match role="alert" className={styles.mistake}>
          {mistake}
        </Field.Error>
      )}
    </Field.Root>
  )
}
