import { Field } from '@base-ui/react/field'
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
}

/** A text field with its label, its mistake, and the number of characters left. */
export function TextField({ name, label, value, onChange, mistake, rows, autoComplete = 'off' }: Props) {
  const left = charactersLeft(name, value)
  return (
    <Field.Root name={name} invalid={mistake !== undefined} className={styles.field}>
      <Field.Label className={styles.label}>{label}</Field.Label>
      <Field.Control
        className={rows ? `${styles.control} ${styles.lines}` : styles.control}
        value={value}
        onValueChange={onChange}
        autoComplete={autoComplete}
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
